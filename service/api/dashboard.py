"""The gate before optuna-dashboard: of its addresses those that only read, for people who may read.

The dashboard's page asks for absolute addresses, so it cannot live below a prefix; these stand at the root beside /v1.
Its routes that tell, rename, delete or migrate are not here, so that nothing reaches the studies but the projection.
"""

import re
from typing import Any, cast
from urllib.parse import parse_qsl

from a2wsgi import WSGIMiddleware
from fastapi import FastAPI
from optuna_dashboard import wsgi
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.auth import identify_request, note_refusal
from service.api.guard import PAGE_POLICY
from service.api.problems import of_error, problem
from service.domain import access
from service.domain.errors import Forbidden, StagetuneError, Unauthenticated

# Of optuna-dashboard 0.21; a test compares them with the routes that the installed version has. The gate reads the
# numbers: Starlette would while it looks for the route, and fail at one that is too long for Python.
PATHS = (
    "/dashboard",
    "/dashboard/{rest:path}",
    "/static/{name:path}",
    "/favicon.ico",
    "/api/meta",
    "/api/studies",
    "/api/studies/{study}",
    "/api/studies/{study}/param_importances",
    "/api/studies/{study}/plot/{kind}",
    "/csv/{study}",
)
THREADS = 4
# The dashboard draws with style attributes and compiles WebGL helpers at run time.
POLICY = PAGE_POLICY.replace("script-src 'self'", "script-src 'self' 'unsafe-eval'")
POLICY = POLICY.replace("style-src 'self'", "style-src 'self' data: 'unsafe-inline'")
POLICY = POLICY.replace("img-src 'self'", "img-src 'self' data: blob:; font-src 'self' data:")
_LARGEST_ID = 2**31 - 1
_NUMBER = re.compile(r"[0-9]{1,10}")
_QUERY = re.compile(rb"[\x21-\x7e]*")
_FILE = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)


def add_dashboard(app: FastAPI) -> None:
    """Route the dashboard's addresses through the gate; ``app.state.dashboard`` is what stands behind it."""
    gate = Gate()
    for path in PATHS:
        app.router.routes.append(Route(path, gate, methods=["GET", "HEAD"], include_in_schema=False))


def build_dashboard(storage: Any) -> ASGIApp:
    """optuna-dashboard on an Optuna storage, without an artifact store and without a language model."""
    return cast(ASGIApp, WSGIMiddleware(wsgi(storage), workers=THREADS))


class Gate:
    """Lets GET and HEAD of people with a session or a reading token through to the dashboard."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._refusal(Request(scope)) or self._forward
        await answer(scope, receive, send)

    async def _refusal(self, request: Request) -> ASGIApp | None:
        try:
            identity = await run_in_threadpool(identify_request, request.app.state.services, request)
            if access.Scope.READ not in identity.scope.granted:
                refused = Forbidden("this needs a session or a token of scope read")
                await run_in_threadpool(note_refusal, request, identity, "dashboard", refused)
                raise refused
        except Unauthenticated as error:
            if request.scope["path"].startswith("/dashboard"):
                return RedirectResponse("/login", status_code=303)
            return of_error(error)
        except StagetuneError as error:
            return of_error(error)
        study: str | None = request.path_params.get("study")
        if study is not None and not await self._exists(request, study):
            # Half of the dashboard's own handlers fail at a study that is not there.
            return problem("not-found", "there is no such study")
        name: str | None = request.path_params.get("name")
        if name is not None and not _FILE.fullmatch(name):
            return problem("not-found", "nothing is at this address")
        if not _is_understood(request.scope["query_string"]):
            return problem("invalid-request", "the dashboard does not understand this query")
        return None

    async def _exists(self, request: Request, study: str) -> bool:
        if not _NUMBER.fullmatch(study) or int(study) > _LARGEST_ID:
            return False
        return await run_in_threadpool(request.app.state.services.has_study, int(study))

    async def _forward(self, scope: Scope, _: Receive, send: Send) -> None:
        # Its handler of static files takes this header for granted, and no secret of ours is its business.
        headers = [(name, value) for name, value in scope["headers"] if name not in (b"cookie", b"authorization")]
        if not any(name == b"accept-encoding" for name, _ in headers):
            headers.append((b"accept-encoding", b"identity"))

        async def no_body() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send_framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if pair[0].lower() != b"content-security-policy"]
                message = {**message, "headers": [*kept, (b"content-security-policy", POLICY.encode())]}
            await send(message)

        dashboard: ASGIApp = scope["app"].state.dashboard
        await dashboard({**scope, "headers": headers}, no_body, send_framed)


def _is_understood(query: bytes) -> bool:
    """`after` is the only parameter that the dashboard turns into a number, without a look at what it is."""
    if not _QUERY.fullmatch(query):
        return False
    given = parse_qsl(query.decode("ascii"), keep_blank_values=True)
    return all(_NUMBER.fullmatch(value) is not None for name, value in given if name == "after")
