"""Who may do what: scopes, tokens and sessions."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from service.domain.quantities import parse_duration


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
    """Who is asking: a token by name, or the page's session, which has no ``token``.

    ``key`` tells holders apart without being a secret: whoever shares it shares one allowance of requests.
    """

    name: str
    scope: Scope
    key: str
    token: UUID | None = None

    @property
    def label(self) -> str:
        """The name as the audit trail has it: names may repeat, keys do not."""
        return f"{self.name} ({self.key[:8]})"


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


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A line of the audit trail: who did or tried what, on which object, from where, and how it ended.

    ``outcome`` is ``done``, the type of the problem that was answered, or ``unknown`` where the server died in between.
    ``count`` is more than one for refusals told together: at least so many between ``at`` and ``last_at``.
    """

    id: int
    at: datetime
    last_at: datetime
    actor: str
    scope: Scope | None
    action: str
    object: str
    outcome: str
    address: str
    count: int


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Lines of the audit trail, newest first; ``next`` is the cursor of the next page."""

    items: tuple[AuditEntry, ...]
    next: str | None


_MINUTE, _LONGEST_DAYS = 60.0, 3650


def lifetime(text: str) -> float:
    """Seconds that a token lives: ``90d`` or ``12h``; ValueError with what to write for anything else."""
    seconds = parse_duration(text)
    if not _MINUTE <= seconds <= _LONGEST_DAYS * 86_400:
        raise ValueError(f"{text[:40]!r} is out of range; a token lives a minute at least and {_LONGEST_DAYS}d at most")
    return seconds


SHORTEST_SECRET = 16
_DIFFERENT_CHARACTERS = 8
# What people leave in place of a secret, as it stands in examples.
_PLACEHOLDERS = ("changeme", "change-me", "change_me", "replaceme", "password", "example", "default", "secret-token")


def weakness(secret: str) -> str | None:
    """Why a secret that somebody brought cannot be one, if so: it is short, simple, or out of an example."""
    if len(secret) < SHORTEST_SECRET:
        return f"is shorter than {SHORTEST_SECRET} characters"
    if len(set(secret)) < _DIFFERENT_CHARACTERS:
        return f"has fewer than {_DIFFERENT_CHARACTERS} different characters"
    if any(placeholder in secret.lower() for placeholder in _PLACEHOLDERS):
        return "looks like a placeholder of an example"
    return None


def fingerprint(secret: str) -> str:
    """What the database holds of a secret. 32 random bytes need no slow hash: nobody guesses them."""
    return hashlib.sha256(secret.encode()).hexdigest()
