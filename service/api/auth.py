"""Who may call which route: bearer tokens by scope, and the page's session as a cookie."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from service.api.services import Services
from service.api.strict import StrictRoute
from service.domain.access import Identity, Scope
from service.domain.errors import Forbidden, Unauthenticated
from service.usecases.authenticate import authenticate_session, authenticate_token

SESSION_COOKIE = "stagetune_session"

_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="a token made with POST /v1/tokens")
_cookie = APIKeyCookie(name=SESSION_COOKIE, auto_error=False, scheme_name="session", description="the page's login")


def identify(services: Services, authorization: str | None, session: str | None) -> Identity:
    """Whom a request comes from; an Authorization header is never overruled by a cookie.

    Raises Unauthenticated.
    """
    if authorization is not None:
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Unauthenticated("the Authorization header must read `Bearer <token>`")
        identity = authenticate_token(services.store, secret.strip())
        if identity is None:
            raise Unauthenticated("this token is unknown, expired or revoked")
        return identity
    if session:
        identity = authenticate_session(services.store, session)
        if identity is not None:
            return identity
        raise Unauthenticated("this session has ended; `stagetune open` makes a new link")
    raise Unauthenticated("send `Authorization: Bearer <token>`; the first token is in STAGETUNE_HOME/admin-token")


def identify_request(services: Services, request: Request) -> Identity:
    """Whom a request comes from. Raises Unauthenticated."""
    return identify(services, request.headers.get("authorization"), request.cookies.get(SESSION_COOKIE))


class Requires:
    """Route dependency: the identity, if it holds one of ``scopes``. Raises Unauthenticated or Forbidden."""

    def __init__(self, *scopes: Scope) -> None:
        self.scopes = frozenset(scopes)

    async def __call__(
        self,
        request: Request,
        # These two only describe the schemes in OpenAPI.
        _token: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        _session: Annotated[str | None, Depends(_cookie)],
    ) -> Identity:
        identity: Identity = request.state.identity
        return identity

    def check(self, request: Request) -> Identity:
        """Look the identity up."""
        identity = identify_request(request.app.state.services, request)
        if not self.scopes & identity.scope.granted:
            wanted = " or ".join(sorted(self.scopes))
            raise Forbidden(f"this needs a token of scope {wanted}; this one has scope {identity.scope}")
        return identity


class GuardedRoute(StrictRoute):
    """A route that knows who asks before it reads a body: strangers cannot make the server parse anything."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind the checks of this route's ``Requires`` dependencies."""
        handle = super().get_route_handler()
        guards = [depends.dependency for depends in self.dependencies if isinstance(depends.dependency, Requires)]

        async def guarded(request: Request) -> Response:
            for guard in guards:
                request.state.identity = await run_in_threadpool(guard.check, request)
            return await handle(request)

        return guarded


READ = Depends(Requires(Scope.READ))
SUBMIT = Depends(Requires(Scope.SUBMIT))
ADMIN = Depends(Requires(Scope.ADMIN))
WORKER = Depends(Requires(Scope.WORKER))
WORKER_OR_READ = Depends(Requires(Scope.WORKER, Scope.READ))
