"""Tokens, and logging in to the page."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from contract.access import AuditPage, LoginCode, LoginRequest, NewToken, TokenRequest, TokenView
from service.api.auth import ADMIN, COUNTS_TRIES, DONE, SESSION_COOKIE, GuardedRoute, address_of, identity_of
from service.api.limits import Limits
from service.api.problems import responses
from service.api.services import Served
from service.domain.access import Scope, fingerprint, lifetime
from service.domain.errors import Fault, InvalidRequest, Unauthenticated
from service.usecases import log_in as logins
from service.usecases import manage_tokens
from service.usecases.read_audit import read_audit
from service.usecases.write_audit import begin_entry

router = APIRouter(prefix="/v1", route_class=GuardedRoute, tags=["access"])

# Several times what a code takes: it is the one body that strangers may send.
MAX_LOGIN_BYTES = 1024


@router.post("/tokens", status_code=201, dependencies=[ADMIN], responses=responses("invalid-request"))
def create_token(body: TokenRequest, request: Request, services: Served) -> NewToken:
    """Make a token. Its secret is in this answer only."""
    try:
        seconds = lifetime(body.expires)
    except ValueError as error:
        raise InvalidRequest(faults=[Fault("expires", str(error))]) from None
    made = manage_tokens.issue_token(services.store, body.name, Scope(body.scope), seconds)
    request.state.made = str(made.id)
    return NewToken.model_validate(made)


@router.get("/tokens", dependencies=[ADMIN])
def list_tokens(services: Served) -> list[TokenView]:
    """All tokens without their secrets, newest first."""
    return [TokenView.model_validate(token) for token in manage_tokens.list_tokens(services.store)]


@router.delete("/tokens/{token}", status_code=204, dependencies=[ADMIN], responses=responses("not-found"))
def revoke_token(token: UUID, services: Served) -> None:
    """End a token now."""
    manage_tokens.revoke_token(services.store, token)


@router.post("/login-codes", status_code=201, dependencies=[ADMIN])
def create_login_code(request: Request, services: Served) -> LoginCode:
    """Make a one-time code for the page; in the fragment of the link it reaches no log and no Referer.

    The session that it opens ends with the token that asks for it, if not before.
    """
    token = identity_of(request).token
    assert token is not None  # sessions are no admins
    made = logins.issue_login_code(services.store, token)
    return LoginCode(code=made.code, path=f"/login#code={made.code}", expires_at=made.expires_at)


@router.post(
    "/login",
    status_code=204,
    dependencies=[COUNTS_TRIES],
    max_body_size=MAX_LOGIN_BYTES,
    responses=responses("unauthenticated", "body-too-large", "too-many-requests"),
)
def log_in(body: LoginRequest, request: Request, response: Response, services: Served) -> None:
    """Exchange a one-time code for a session cookie."""
    settings, address = services.settings, address_of(request)
    hours = settings.session_hours
    try:
        secret = logins.log_in(services.store, body.code, hours)
    except Unauthenticated as error:
        request.app.state.refusals.note(services.store, None, "log_in", error.code, address)
        raise
    begin_entry(
        services.store,
        actor="page",
        scope=Scope.SUBMIT,
        action="log_in",
        object_="",
        outcome=DONE,
        address=address,
        days=settings.audit_days,
        most=settings.audit_entries,
    )
    response.set_cookie(
        SESSION_COOKIE,
        secret,
        max_age=int(hours * 3600),
        httponly=True,
        samesite="lax",
        secure=settings.secure_cookies or request.url.scheme == "https",
    )


@router.post("/logout", status_code=204, responses=responses("too-many-requests"))
def log_out(request: Request, response: Response, services: Served) -> None:
    """End the page's session."""
    secret = request.cookies.get(SESSION_COOKIE)
    if secret:
        # Anybody may call this: what is no session counts as a guess.
        limits: Limits = request.app.state.limits
        hashed, address = fingerprint(secret), address_of(request)
        limits.check_guess(hashed, address)
        if not logins.log_out(services.store, secret):
            limits.note_guess(hashed, address, valid=False)
    response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax")


@router.get("/audit", dependencies=[ADMIN], responses=responses("invalid-request"))
def list_audit(
    services: Served,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(pattern="^[0-9]{1,18}$", description="`next` of a page")] = None,
) -> AuditPage:
    """Who did or tried what, newest first."""
    return AuditPage.model_validate(read_audit(services.store, limit, cursor))
