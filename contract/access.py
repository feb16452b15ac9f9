"""Tokens, sessions and the server's own state on the wire."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from contract.base import WHOLE, Lenient, Name, Strict

Scope = Literal["admin", "submit", "read", "worker"]
Secret = Annotated[str, StringConstraints(min_length=16, max_length=200, pattern=r"^[A-Za-z0-9_-]+$")]


class TokenRequest(Strict):
    """A new token."""

    name: Name
    scope: Scope
    days: Annotated[int, Field(ge=1, le=3650), WHOLE] = 90


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
