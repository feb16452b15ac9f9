"""Whether an attempt still has its task, before it sends something large."""

from uuid import UUID

from service.domain.errors import LeaseLost
from service.storage import Storage, attempts, tasks


def check_attempt(store: Storage, task: UUID, attempt: int) -> None:
    """Return if the attempt may still write.

    Raises:
        LeaseLost: it was superseded, or its task has ended.
        NotFound: there is no such task.
    """
    with store.reading() as tx:
        if not attempts.holds(tx, task, attempt):
            tasks.get(tx, task)
            raise LeaseLost
