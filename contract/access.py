"""Tokens, sessions and the server's own state on the wire."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from contract.base import Lenient, Name, Strict
from contract.submission import Duration

Scope = Literal["admin", "submit", "read", "worker"]
Secret = Annotated[str, StringConstraints(min_length=16, max_length=200, pattern=r"^[A-Za-z0-9_-]+$")]


class TokenRequest(Strict):
    """A new token."""

    name: Name
    scope: Scope
    expires: Annotated[Duration, Field(description="how long it lives: 90d, 12h")] = "90d"


class TokenView(Lenient):
    """A token without its secret."""

    id: UUID
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewToken(TokenView):
    """The only answer that ever carries a token's secret."""

    token: str


class AuditEntry(Lenient):
    """A line of the audit trail."""

    id: int
    at: datetime
    last_at: datetime
    actor: str = Field(description="a token's name with the start of its id, the page's session, or a stranger")
    scope: Scope | None
    action: str
    object: str = Field(description="ids of what it was done to, or empty")
    outcome: str = Field(description="done, a ProblemType, or unknown where the server died in between")
    address: str
    count: int = Field(description="how often at least, of refusals that are told together")


class AuditPage(Lenient):
    """Lines of the audit trail, newest first."""

    items: list[AuditEntry]
    next: str | None = Field(description="cursor of the next page")


class LoginCode(Lenient):
    """A one-time code for the page, valid for five minutes; it belongs into the fragment of /login."""

    code: str
    path: str = Field(description="/login#code=...")
    expires_at: datetime


class LoginRequest(Strict):
    """Exchange a one-time code for a session cookie."""

    code: Secret


class Version(Lenient):
    """What is running."""

    version: str
    optuna: str
    database: str


class Readiness(Lenient):
    """Ready to serve, or what is missing."""

    ready: bool
    checks: dict[str, str]
