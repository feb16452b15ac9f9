"""Tokens, and logging in to the page."""

import threading
import time
from collections import deque
from uuid import UUID

from fastapi import APIRouter, Request, Response

from contract.access import LoginCode, LoginRequest, NewToken, TokenRequest, TokenView
from service.api.auth import ADMIN, SESSION_COOKIE, GuardedRoute
from service.api.problems import responses
from service.api.services import Served
from service.domain.access import Scope
from service.domain.errors import TooManyRequests, Unauthenticated
from service.usecases import log_in as logins
from service.usecases import manage_tokens

router = APIRouter(prefix="/v1", route_class=GuardedRoute, tags=["access"])


class Failures:
    """Counts failed logins a client address: ten a minute, then the answer is 429."""

    def __init__(self, most: int = 10, seconds: float = 60) -> None:
        self._most, self._seconds = most, seconds
        self._moments: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def check(self, address: str) -> None:
        """Raises TooManyRequests."""
        with self._lock:
            if len(self._recent(address)) >= self._most:
                raise TooManyRequests("too many codes that were not valid; wait a minute")

    def add(self, address: str) -> None:
        with self._lock:
            if len(self._moments) > 10_000:
                self._moments.clear()
            self._recent(address).append(time.monotonic())

    def _recent(self, address: str) -> deque[float]:
        moments = self._moments.setdefault(address, deque(maxlen=self._most))
        while moments and moments[0] < time.monotonic() - self._seconds:
            moments.popleft()
        return moments


@router.post("/tokens", status_code=201, dependencies=[ADMIN])
def create_token(body: TokenRequest, services: Served) -> NewToken:
    """Make a token. Its secret is in this answer only."""
    return NewToken.model_validate(manage_tokens.issue_token(services.store, body.name, Scope(body.scope), body.days))


@router.get("/tokens", dependencies=[ADMIN])
def list_tokens(services: Served) -> list[TokenView]:
    """All tokens without their secrets, newest first."""
    return [TokenView.model_validate(token) for token in manage_tokens.list_tokens(services.store)]


@router.delete("/tokens/{token}", status_code=204, dependencies=[ADMIN], responses=responses("not-found"))
def revoke_token(token: UUID, services: Served) -> None:
    """End a token now."""
    manage_tokens.revoke_token(services.store, token)


@router.post("/login-codes", status_code=201, dependencies=[ADMIN])
def create_login_code(services: Served) -> LoginCode:
    """Make a one-time code for the page; in the fragment of the link it reaches no log and no Referer."""
    made = logins.issue_login_code(services.store)
    return LoginCode(code=made.code, path=f"/login#code={made.code}", expires_at=made.expires_at)


@router.post("/login", status_code=204, responses=responses("unauthenticated", "too-many-requests"))
def log_in(body: LoginRequest, request: Request, response: Response, services: Served) -> None:
    """Exchange a one-time code for a session cookie."""
    failures: Failures = request.app.state.login_failures
    address = request.client.host if request.client else ""
    failures.check(address)
    hours = services.settings.session_hours
    try:
        secret = logins.log_in(services.store, body.code, hours)
    except Unauthenticated:
        failures.add(address)
        raise
    response.set_cookie(
        SESSION_COOKIE,
        secret,
        max_age=int(hours * 3600),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


@router.post("/logout", status_code=204)
def log_out(request: Request, response: Response, services: Served) -> None:
    """End the page's session."""
    secret = request.cookies.get(SESSION_COOKIE)
    if secret:
        logins.log_out(services.store, secret)
    response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax")
