"""Who may call which route: bearer tokens by scope, the page's session as a cookie, workers by who announced them.

Whatever changes something for people is written into the audit trail before it is done, and its outcome afterwards.
"""

import logging
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.api.addresses import NamedAttempt, NamedWorker, read_names
from service.api.limits import Limits
from service.api.problems import code_of_status, printable
from service.api.refusals import Refusals
from service.api.services import Services
from service.api.strict import StrictRoute
from service.domain.access import Identity, Scope, fingerprint
from service.domain.errors import (
    DatabaseUnavailable,
    Forbidden,
    NotFound,
    StagetuneError,
    TooManyRequests,
    Unauthenticated,
)
from service.storage import Storage
from service.usecases.authenticate import authenticate_session, authenticate_token
from service.usecases.own_worker import check_attempt, check_worker
from service.usecases.write_audit import begin_entry, conclude_entry

SESSION_COOKIE = "stagetune_session"
DONE = "done"
_REMEMBERED = 10_000
log = logging.getLogger(__name__)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="a token made with POST /v1/tokens")
_cookie = APIKeyCookie(name=SESSION_COOKIE, auto_error=False, scheme_name="session", description="the page's login")


def identify_request(services: Services, request: Request) -> Identity:
    """Whom a request comes from; an Authorization header is never overruled by a cookie.

    Raises Unauthenticated, and TooManyRequests for too many requests or too many wrong secrets.
    """
    limits: Limits = request.app.state.limits
    look_up, secret, wrong = _secret_of(request)
    address, hashed = address_of(request), fingerprint(secret)
    identity: Identity | None = None
    try:
        limits.check_guess(hashed, address)
        identity = look_up(services.store, secret)
        limits.note_guess(hashed, address, valid=identity is not None)
        if identity is not None:
            limits.spend_request(services.store, identity, services.settings.lease_seconds)
    except TooManyRequests as error:
        note_refusal(request, identity, "authenticate", error)
        raise
    if identity is None:
        unknown = Unauthenticated(wrong)
        note_refusal(request, None, "authenticate", unknown)
        raise unknown
    return identity


def still_identified(services: Services, request: Request) -> bool:
    """Whether the secret of a request that was let in is valid still. Raises DatabaseUnavailable."""
    look_up, secret, _ = _secret_of(request)
    return look_up(services.store, secret) is not None


def _secret_of(request: Request) -> tuple[Callable[[Storage, str], Identity | None], str, str]:
    """How to look a request's secret up, the secret, and what to say if it is wrong. Raises Unauthenticated."""
    authorization, session = request.headers.get("authorization"), request.cookies.get(SESSION_COOKIE)
    if authorization is not None:
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise Unauthenticated("the Authorization header must read `Bearer <token>`")
        return authenticate_token, secret, "this token is unknown, expired or revoked"
    if session:
        return authenticate_session, session, "this session has ended; `stagetune open` makes a new link"
    raise Unauthenticated("send `Authorization: Bearer <token>`; the first token is in STAGETUNE_HOME/admin-token")


def address_of(request: Request) -> str:
    """The address that a request comes from."""
    return request.client.host if request.client else ""


class Requires:
    """Route dependency: the identity, if it holds one of ``scopes``. Raises Unauthenticated or Forbidden.

    What it guards is ``audited`` unless it only reads.
    """

    def __init__(self, *scopes: Scope, audited: bool = False) -> None:
        self.scopes = frozenset(scopes)
        self.audited = audited

    async def __call__(
        self,
        request: Request,
        # These two only describe the schemes in OpenAPI.
        _token: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        _session: Annotated[str | None, Depends(_cookie)],
    ) -> Identity:
        return identity_of(request)

    def check(self, request: Request) -> None:
        """Look the identity up and leave it in the request's state."""
        identity = identify_request(request.app.state.services, request)
        request.state.identity = identity
        if not self.scopes & identity.scope.granted:
            wanted = " or ".join(sorted(self.scopes))
            raise Forbidden(f"this needs a token of scope {wanted}; this one has scope {identity.scope}")


class Owns:
    """Route dependency: the worker or the attempt that is named belongs to the token that asks. Raises NotFound.

    Attempts are named in the ``path`` or in the ``query``. Whose an attempt is never changes once it is there and its
    worker has a token: what was found then is remembered.
    """

    def __init__(self, place: Literal["path", "query"] = "path") -> None:
        self._place = place

    async def __call__(self) -> None:
        """Everything is done by ``check``, before the body is read."""

    def check(self, request: Request) -> None:
        """Look it up. Names that are not well-formed are refused here: the route is not to read them otherwise."""
        services: Services = request.app.state.services
        token = identity_of(request).token
        if self._place == "query":
            self._check_attempt(request, read_names(NamedAttempt, request.query_params, "query"), token)
        elif "task" in request.path_params:
            self._check_attempt(request, read_names(NamedAttempt, request.path_params, "path"), token)
        elif "worker" in request.path_params:
            check_worker(services.store, read_names(NamedWorker, request.path_params, "path").worker, token)

    def _check_attempt(self, request: Request, named: NamedAttempt, token: UUID | None) -> None:
        services: Services = request.app.state.services
        asked = (named.task, named.attempt, token)
        if asked not in request.app.state.owned_attempts and check_attempt(services.store, *asked):
            remember_attempt(request, *asked)


def remember_attempt(request: Request, task: UUID, attempt: int, token: UUID | None) -> None:
    """Whose an attempt is that was leased or looked up just now, so that it need not be looked up again."""
    known: set[tuple[UUID, int, UUID | None]] = request.app.state.owned_attempts
    if len(known) >= _REMEMBERED:
        known.clear()
    known.add((task, attempt, token))


class CountsTries:
    """Route dependency of what strangers may send a body to: an address that failed too often is not read at all.

    A try fails whatever is wrong with it: what is not even a code costs the server as much as a wrong one.
    """

    async def __call__(self) -> None:
        """Everything is done by ``check``, before the body is read."""

    def check(self, request: Request) -> None:
        """Raises TooManyRequests."""
        limits: Limits = request.app.state.limits
        try:
            limits.check_login(address_of(request))
        except TooManyRequests as error:
            note_refusal(request, None, "log_in", error)
            raise


class GuardedRoute(StrictRoute):
    """A route that knows who asks before it reads a body, or how often this stranger has failed."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind the checks of this route's ``Requires``, ``Owns`` and ``CountsTries`` dependencies."""
        handle = super().get_route_handler()
        given = [depends.dependency for depends in self.dependencies]
        guards = [guard for guard in given if isinstance(guard, Requires | Owns | CountsTries)]
        audited = any(isinstance(guard, Requires) and guard.audited for guard in guards) and bool(
            (self.methods or set()) - _SAFE
        )
        if audited:
            handle = _audited(self.name, handle)
        if any(isinstance(guard, CountsTries) for guard in guards):
            handle = _counted(handle)

        def check(request: Request) -> None:
            try:
                for guard in guards:
                    guard.check(request)
            except (Forbidden, NotFound) as error:
                note_refusal(request, identity_of(request), self.name, error)
                raise

        async def guarded(request: Request) -> Response:
            if guards:
                await run_in_threadpool(check, request)
            return await handle(request)

        return guarded


Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def identity_of(request: Request) -> Identity:
    """Who asks; known once the guards have passed."""
    identity: Identity = request.state.identity
    return identity


def note_refusal(request: Request, identity: Identity | None, action: str, error: StagetuneError) -> None:
    """Tell the audit trail what was refused to somebody, or to a stranger. It writes: not for the event loop."""
    services: Services = request.app.state.services
    refusals: Refusals = request.app.state.refusals
    refusals.note(services.store, identity, action, error.code, address_of(request))


def _names(request: Request) -> str:
    """What the address names, as text that a database takes."""
    return printable(" ".join(map(str, request.path_params.values()))).replace("\0", "?")[:200]


def _counted(handle: Handler) -> Handler:
    """The handler, whose failures count against the address that asks, but for those that are the server's."""

    async def counted(request: Request) -> Response:
        try:
            return await handle(request)
        except DatabaseUnavailable:
            raise
        except (StagetuneError, RequestValidationError, HTTPException, ClientDisconnect):
            limits: Limits = request.app.state.limits
            limits.note_login(address_of(request))
            raise

    return counted


def _audited(action: str, handle: Handler) -> Handler:
    """The handler between the two halves of its line in the audit trail."""

    async def audited(request: Request) -> Response:
        services: Services = request.app.state.services
        identity, named = identity_of(request), _names(request)

        def begin() -> int:
            return begin_entry(
                services.store,
                actor=identity.label,
                scope=identity.scope,
                action=action,
                object_=named,
                address=address_of(request),
                days=services.settings.audit_days,
                most=services.settings.audit_entries,
            )

        entry = await run_in_threadpool(begin)
        outcome, new = "internal-error", ""
        try:
            response = await handle(request)
            outcome, new = DONE, getattr(request.state, "made", "")
            return response
        except StagetuneError as error:
            outcome = error.code
            raise
        except RequestValidationError:
            outcome = "invalid-request"
            raise
        except HTTPException as error:
            outcome = code_of_status(error.status_code)
            raise
        finally:
            try:
                object_ = " ".join(filter(None, (named, new)))
                await run_in_threadpool(conclude_entry, services.store, entry, object_, outcome)
            except DatabaseUnavailable as error:
                # What was done is done; its line says that the outcome is unknown.
                log.warning("the outcome of %s is not in the audit trail: %s", action, error.message)

    return audited


READ = Depends(Requires(Scope.READ))
DRAFT = Depends(Requires(Scope.SUBMIT))
SUBMIT = Depends(Requires(Scope.SUBMIT, audited=True))
ADMIN = Depends(Requires(Scope.ADMIN, audited=True))
WORKER = Depends(Requires(Scope.WORKER))
OWN = Depends(Owns())
OWN_IN_QUERY = Depends(Owns("query"))
COUNTS_TRIES = Depends(CountsTries())
WORKER_OR_READ = Depends(Requires(Scope.WORKER, Scope.READ))
