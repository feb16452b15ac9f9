"""Writing the audit trail: a line before something is done, filled in when it has ended."""

from service.domain.access import Scope
from service.storage import Storage, audit

# Every so many lines the oldest are looked at: the trail is bounded without a clock of its own.
SWEEP_EVERY = 100
UNKNOWN = "unknown"
"""The outcome of what has begun; it stays where the server dies before the end."""


def begin_entry(
    store: Storage,
    *,
    actor: str,
    scope: Scope | None,
    action: str,
    object_: str,
    address: str,
    days: float,
    most: int,
    outcome: str = UNKNOWN,
) -> int:
    """Add a line, at most about ``most`` of at most ``days`` being kept, and return its id."""
    with store.transaction() as tx:
        entry = audit.add(
            tx, actor=actor, scope=scope, action=action, object_=object_, outcome=outcome, address=address
        )
        if entry % SWEEP_EVERY == 0:
            audit.sweep(tx, days, most)
    return entry


def conclude_entry(store: Storage, entry: int, object_: str, outcome: str) -> None:
    """Fill in how it ended, and the id of what is new."""
    with store.transaction() as tx:
        audit.conclude(tx, entry, object_, outcome)


def count_entry(store: Storage, entry: int, times: int) -> None:
    """The same has happened so many times."""
    with store.transaction() as tx:
        audit.count(tx, entry, times)
