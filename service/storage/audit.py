"""The audit trail: lines are added and filled in, never edited otherwise, and the oldest make room."""

from typing import Any

from service.domain.access import AuditEntry, Scope
from service.storage.engine import Transaction


def add(
    tx: Transaction, *, actor: str, scope: Scope | None, action: str, object_: str, outcome: str, address: str
) -> int:
    """Add a line and return its id."""
    added: int = tx.execute(
        """
        INSERT INTO audit (actor, scope, action, object, outcome, address)
        VALUES (:actor, :scope, :action, :object, :outcome, :address) RETURNING id
        """,
        {
            "actor": actor,
            "scope": scope,
            "action": action,
            "object": object_,
            "outcome": outcome,
            "address": address,
        },
    ).scalar_one()
    return added


def conclude(tx: Transaction, entry: int, object_: str, outcome: str) -> None:
    """Fill in how it ended, and the object, which something new gets only then."""
    tx.execute(
        "UPDATE audit SET outcome = :outcome, object = :object, last_at = now() WHERE id = :id",
        {"id": entry, "object": object_, "outcome": outcome},
    )


def count(tx: Transaction, entry: int, times: int) -> None:
    """The same happened again, so many times by now."""
    tx.execute("UPDATE audit SET count = :times, last_at = now() WHERE id = :id", {"id": entry, "times": times})


def sweep(tx: Transaction, days: float, most: int) -> int:
    """Remove lines older than ``days``, and the oldest beyond about ``most``; how many."""
    return tx.execute(
        """
        DELETE FROM audit WHERE at < now() - make_interval(secs => :seconds)
           OR id <= (SELECT max(id) - :most FROM audit)
        """,
        {"seconds": days * 86_400, "most": most},
    ).rowcount


def page(tx: Transaction, limit: int, before: int | None) -> list[AuditEntry]:
    """The newest lines, older than the one named by ``before``."""
    rows = tx.execute(
        "SELECT * FROM audit WHERE CAST(:before AS bigint) IS NULL OR id < :before ORDER BY id DESC LIMIT :limit",
        {"limit": limit, "before": before},
    )
    return [_entry(row) for row in rows]


def _entry(row: Any) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=row.at,
        last_at=row.last_at,
        actor=row.actor,
        scope=None if row.scope is None else Scope(row.scope),
        action=row.action,
        object=row.object,
        outcome=row.outcome,
        address=row.address,
        count=row.count,
    )
