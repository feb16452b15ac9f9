"""Every error answer is problem+json (RFC 9457); which status a problem type has stands here and nowhere else."""

import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import compile_path

from contract.problems import Fault, Problem, ProblemType
from service.api.faults import faults_of
from service.domain.errors import StagetuneError, TooManyRequests

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
STATUS: Mapping[ProblemType, int] = {
    "malformed-body": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "request-timeout": 408,
    "conflict": 409,
    "too-many-experiments": 409,
    "lease-lost": 409,
    "draining": 409,
    "artifact-damaged": 410,
    "body-too-large": 413,
    "unsupported-media-type": 415,
    "range-not-satisfiable": 416,
    "invalid-submission": 422,
    "invalid-request": 422,
    "result-conflict": 422,
    "digest-mismatch": 422,
    "invalid-artifact": 422,
    "unknown-dataset": 422,
    "too-many-requests": 429,
    "internal-error": 500,
    "database-unavailable": 503,
    "storage-unavailable": 503,
    "storage-full": 507,
}
TITLES: Mapping[ProblemType, str] = {
    "malformed-body": "The body cannot be read",
    "unauthenticated": "Who is asking is not known",
    "forbidden": "Not allowed",
    "not-found": "There is no such thing",
    "method-not-allowed": "This address does not take this method",
    "conflict": "The state of the thing does not allow this",
    "too-many-experiments": "No more experiments at once",
    "lease-lost": "The attempt was superseded",
    "draining": "The worker is being drained",
    "request-timeout": "The body came too slowly",
    "body-too-large": "The body is too large",
    "unsupported-media-type": "The body is not in a format that is read here",
    "range-not-satisfiable": "There are no such bytes",
    "invalid-submission": "The submission cannot be run as it is",
    "invalid-request": "The request does not have the published form",
    "result-conflict": "Another result was accepted before",
    "digest-mismatch": "The bytes are not what their name says",
    "invalid-artifact": "Not a checkpoint",
    "unknown-dataset": "The data set is not known",
    "too-many-requests": "Too many requests",
    "internal-error": "Something went wrong in the server",
    "database-unavailable": "The database does not answer",
    "storage-full": "No space left",
    "storage-unavailable": "The bucket for artifacts does not answer",
    "artifact-damaged": "The bytes are gone or damaged",
}
RETRY_SECONDS = 2
_LOG_AGAIN_SECONDS = 10.0
_logged: dict[str, tuple[str, float]] = {}
# Problems of requests that never reached a route.
_BY_STATUS: Mapping[int, ProblemType] = {
    400: "malformed-body", 401: "unauthenticated", 403: "forbidden", 404: "not-found", 405: "method-not-allowed",
    413: "body-too-large", 415: "unsupported-media-type", 416: "range-not-satisfiable", 422: "invalid-request",
    429: "too-many-requests",
}  # fmt: skip


def problem(
    code: ProblemType,
    detail: str,
    faults: Iterable[Fault] = (),
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    trace_id: str | None = None,
) -> JSONResponse:
    """An error answer; ``status`` only where HTTP itself demands another one than the table."""
    status = status or STATUS[code]
    body = Problem(
        type=f"/problems/{code}",
        title=TITLES[code],
        status=status,
        detail=detail,
        faults=list(faults),
        trace_id=trace_id,
    )
    extra = dict(headers or {})
    if code == "unauthenticated":
        extra.setdefault("WWW-Authenticate", "Bearer")
    if code in ("database-unavailable", "storage-unavailable", "too-many-requests"):
        extra.setdefault("Retry-After", str(RETRY_SECONDS))
    return JSONResponse(body.model_dump(exclude_none=True), status_code=status, headers=extra, media_type=MEDIA_TYPE)


def responses(*codes: ProblemType) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the problems a route may answer with, beside those that any route may."""
    described: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        known = described.setdefault(STATUS[code], {"model": Problem, "description": ""})
        known["description"] = " / ".join(filter(None, (known["description"], f"{code}: {TITLES[code]}")))
    return described


def install(app: FastAPI) -> None:
    """Answer everything that goes wrong in ``app`` with a problem."""
    app.add_exception_handler(StagetuneError, _stagetune_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _internal_error)


def _gone(_: Request, _error: Exception) -> JSONResponse:
    """The client went away in the middle of its body: nobody hears this, and it is no mistake of ours."""
    return problem("malformed-body", "the body ended before it was whole")


def of_error(error: StagetuneError) -> JSONResponse:
    """The problem of a domain error; a code without a status would be a mistake of ours, not of the client."""
    if error.code not in STATUS:
        trace_id = _new_trace_id()
        log.error("no status for problem type %s: %s (trace_id %s)", error.code, error.message, trace_id)
        return _of_ours(trace_id)
    faults = [Fault(path=printable(fault.path), message=printable(fault.message)) for fault in error.faults]
    if error.confidential:
        _log_cause(error)
    seconds = error.seconds if isinstance(error, TooManyRequests) else None
    headers = {"Retry-After": str(seconds)} if seconds else None
    return problem(error.code, printable(error.told), faults, headers=headers)  # type: ignore[arg-type]


def _log_cause(error: StagetuneError) -> None:
    """In an outage every request has the same cause: it is told once in a while."""
    now = time.monotonic()
    message, at = _logged.get(error.code, ("", 0.0))
    if message != error.message or now - at > _LOG_AGAIN_SECONDS:
        _logged[error.code] = error.message, now
        log.warning("%s: %s", error.code, error.message)


def code_of_status(status: int) -> ProblemType:
    """The problem type of an error that has no other name than its HTTP status."""
    return _BY_STATUS.get(status, "invalid-request" if status < 500 else "internal-error")


def printable(text: str) -> str:
    """Text that any JSON encoder takes: lone surrogates, which a client may have sent, become question marks."""
    return text.encode("utf-8", "replace").decode()


def _stagetune_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StagetuneError)
    return of_error(error)


def _invalid_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return problem("malformed-body", "the body is not JSON")
    return problem("invalid-request", "the request does not have the published form", faults_of(error.errors()))


def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods_at(request)))
    code = code_of_status(error.status_code)
    detail = {
        "not-found": "nothing is at this address",
        "method-not-allowed": "see the Allow header for the methods this address takes",
        "body-too-large": "the body is larger than this address takes",
        "malformed-body": "the body is not JSON, or nested too deeply",
    }.get(code, HTTPStatus(error.status_code).phrase)
    return problem(code, detail, status=error.status_code, headers=headers)


def _methods_at(request: Request) -> set[str]:
    """Every method of an address: Starlette names those of its first route only."""
    methods: set[str] = set()
    for context in iter_route_contexts(request.app.routes):
        if context.path and context.methods and compile_path(context.path)[0].match(request.scope["path"]):
            methods |= context.methods
    return methods


def _internal_error(_: Request, error: Exception) -> JSONResponse:
    trace_id = _new_trace_id()
    # Starlette raises the error again after this answer; the server logs its traceback, and this at the end of it.
    error.add_note(f"trace_id {trace_id}")
    return _of_ours(trace_id)


def _of_ours(trace_id: str) -> JSONResponse:
    """The answer to a mistake of ours, with the id that leads to its reason."""
    detail = f"the server failed at this request; its log has the reason, with the trace_id {trace_id}"
    return problem("internal-error", detail, trace_id=trace_id)


def _new_trace_id() -> str:
    return secrets.token_hex(8)
