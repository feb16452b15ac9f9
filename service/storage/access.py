"""Tokens, one-time codes and sessions; the database holds their hashes only."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.domain.access import Identity, Scope, TokenView
from service.storage.engine import Transaction

# The last use of a token is known to the minute, so that not every request has to write.
_STALE = "(last_used_at IS NULL OR last_used_at < now() - interval '1 minute')"

_VALID = "(t.revoked_at IS NULL AND t.expires_at > now())"


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose valid token it is, and whether its last use is worth noting."""

    identity: Identity
    stale: bool


def add_token(tx: Transaction, token_id: UUID, hashed: str, name: str, scope: Scope, seconds: float) -> TokenView:
    """Store a new token that expires after so many seconds."""
    row = tx.execute(
        """
        INSERT INTO token (id, hash, name, scope, expires_at)
        VALUES (:id, :hash, :name, :scope, now() + make_interval(secs => :seconds)) RETURNING *
        """,
        {"id": token_id, "hash": hashed, "name": name, "scope": scope, "seconds": seconds},
    ).one()
    return _token(row)


def token_holder(tx: Transaction, hashed: str) -> Holder | None:
    """Whose token it is; None for one that is unknown, expired or revoked."""
    row = tx.execute(
        f"SELECT t.id, t.name, t.scope, {_STALE} AS stale FROM token t WHERE t.hash = :hash AND {_VALID}",
        {"hash": hashed},
    ).one_or_none()
    return None if row is None else Holder(Identity(row.name, Scope(row.scope), str(row.id), row.id), row.stale)


def note_use(tx: Transaction, token: UUID) -> None:
    """Remember that a token is used now."""
    tx.execute(f"UPDATE token SET last_used_at = now() WHERE id = :id AND {_STALE}", {"id": token})


def knows_token(tx: Transaction, hashed: str) -> bool:
    """Whether there ever was such a token, valid or not."""
    return tx.execute("SELECT 1 FROM token WHERE hash = :hash", {"hash": hashed}).one_or_none() is not None


def tokens(tx: Transaction) -> tuple[TokenView, ...]:
    """All tokens, newest first."""
    return tuple(_token(row) for row in tx.execute("SELECT * FROM token ORDER BY created_at DESC, id"))


def revoke_token(tx: Transaction, token_id: UUID) -> bool:
    """End a token for ever; False when there is none."""
    changed = tx.execute("UPDATE token SET revoked_at = coalesce(revoked_at, now()) WHERE id = :id", {"id": token_id})
    return changed.rowcount == 1


def add_login_code(tx: Transaction, hashed: str, minutes: int, token: UUID) -> datetime:
    """Store a one-time code made with a token and return its end. Old codes are swept out on the way."""
    tx.execute("DELETE FROM login_code WHERE expires_at < now() - interval '1 day'")
    expires_at: datetime = tx.execute(
        "INSERT INTO login_code (hash, token_id, expires_at)"
        " VALUES (:hash, :token, now() + make_interval(mins => :minutes)) RETURNING expires_at",
        {"hash": hashed, "token": token, "minutes": minutes},
    ).scalar_one()
    return expires_at


def use_login_code(tx: Transaction, hashed: str) -> UUID | None:
    """Use up a code and return the token behind it; None when the code is unknown, used or old, or its token ended."""
    token: UUID | None = tx.execute(
        f"""
        UPDATE login_code c SET used_at = now() FROM token t
        WHERE c.hash = :hash AND c.used_at IS NULL AND c.expires_at > now() AND t.id = c.token_id AND {_VALID}
        RETURNING t.id
        """,
        {"hash": hashed},
    ).scalar_one_or_none()
    return token


def add_session(tx: Transaction, hashed: str, hours: float, token: UUID) -> datetime:
    """Start a session, which ends with its token at the latest, and return its end. Old ones are swept out."""
    tx.execute("DELETE FROM session WHERE expires_at < now()")
    expires_at: datetime = tx.execute(
        "INSERT INTO session (hash, token_id, expires_at)"
        " VALUES (:hash, :token, now() + make_interval(secs => :seconds)) RETURNING expires_at",
        {"hash": hashed, "token": token, "seconds": hours * 3600},
    ).scalar_one()
    return expires_at


def has_session(tx: Transaction, hashed: str) -> bool:
    """Whether the session and the token behind it are valid."""
    found = tx.execute(
        f"SELECT 1 FROM session s JOIN token t ON t.id = s.token_id"
        f" WHERE s.hash = :hash AND s.expires_at > now() AND {_VALID}",
        {"hash": hashed},
    )
    return found.one_or_none() is not None


def end_session(tx: Transaction, hashed: str) -> bool:
    """Log out; whether there was such a session."""
    return tx.execute("DELETE FROM session WHERE hash = :hash", {"hash": hashed}).rowcount == 1


def _token(row: Any) -> TokenView:
    return TokenView(
        id=row.id,
        name=row.name,
        scope=Scope(row.scope),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
