"""Who may do what: scopes, tokens and sessions."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Scope(StrEnum):
    """What a token is for. Admin includes submit, submit includes read; worker stands apart."""

    ADMIN = "admin"
    SUBMIT = "submit"
    READ = "read"
    WORKER = "worker"

    @property
    def granted(self) -> frozenset["Scope"]:
        """The scopes that this one includes."""
        match self:
            case Scope.ADMIN:
                return frozenset(Scope)
            case Scope.SUBMIT:
                return frozenset({Scope.SUBMIT, Scope.READ})
            case Scope.READ | Scope.WORKER:
                return frozenset({self})


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking: a token by name, or the page's session."""

    name: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token without its secret, which nobody has but its holder."""

    id: UUID
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewToken(TokenView):
    """A token at the only moment its secret is known."""

    token: str


@dataclass(frozen=True, slots=True)
class LoginCode:
    """A one-time code for the page."""

    code: str
    expires_at: datetime


def fingerprint(secret: str) -> str:
    """What the database holds of a secret. 32 random bytes need no slow hash: nobody guesses them."""
    return hashlib.sha256(secret.encode()).hexdigest()
