"""The history of experiments. Lines are added through ``Transaction.announce``."""

from uuid import UUID

from service.domain.views import Event
from service.storage.engine import Transaction


def after(tx: Transaction, experiment: UUID, last: int, limit: int) -> tuple[Event, ...]:
    """Lines with an id above ``last``, in their order."""
    rows = tx.execute(
        "SELECT id, at, kind, data FROM event"
        " WHERE experiment_id = :experiment AND id > :last ORDER BY id LIMIT :limit",
        {"experiment": experiment, "last": last, "limit": limit},
    )
    return tuple(Event(row.id, row.at, row.kind, row.data) for row in rows)
