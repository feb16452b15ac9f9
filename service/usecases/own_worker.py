"""Whether a token may speak for a worker: only the one that announced it may."""

from uuid import UUID

from service.domain.errors import NotFound
from service.storage import Storage, workers


def check_worker(store: Storage, worker: UUID, token: UUID | None) -> int:
    """The slots of a worker of the token, none of one that is unknown. Raises NotFound for a worker of another."""
    with store.reading() as tx:
        owner = workers.owner(tx, worker)
    if owner is not None and (token is None or owner.token not in (None, token)):
        raise NotFound(f"there is no worker {worker} that this token announced")
    return 0 if owner is None else owner.slots


def check_attempt(store: Storage, task: UUID, attempt: int, token: UUID | None) -> None:
    """Nothing for an attempt of a worker of the token. Raises NotFound for any other, as for an unknown task."""
    with store.reading() as tx:
        owned = token is not None and workers.owned_attempt(tx, task, attempt, token)
    if not owned:
        raise NotFound(f"there is no task {task}")


def count_slots(store: Storage, token: UUID, alive_seconds: float) -> int:
    """How many tasks the workers of a token that were seen within ``alive_seconds`` can hold."""
    with store.reading() as tx:
        return workers.slots_of(tx, token, alive_seconds)
