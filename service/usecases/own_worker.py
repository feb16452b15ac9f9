"""Whether a token may speak for a worker: only the one that announced it may."""

from uuid import UUID

from service.domain.errors import LeaseLost, NotFound
from service.storage import Storage, workers


def check_worker(store: Storage, worker: UUID, token: UUID | None) -> workers.Owner | None:
    """Whose a worker of the token is, None of one that is unknown. Raises NotFound for a worker of another."""
    with store.reading() as tx:
        owner = workers.owner(tx, worker)
    if owner is not None and (token is None or owner.token not in (None, token)):
        raise NotFound(f"there is no worker {worker} that this token announced")
    return owner


def check_attempt(store: Storage, task: UUID, attempt: int, token: UUID | None) -> bool:
    """Whether an attempt is the token's for good; of a worker from before tokens were noted it is anybody's for now.

    Raises:
        NotFound: it is another token's; the same as for an unknown task.
        LeaseLost: there is no such attempt of a task that the token had: one day it may be another's.
    """
    with store.reading() as tx:
        owners = workers.attempt_owners(tx, task)
    known = [owner for n, owner in owners if n == attempt]
    if token is None or not {token, None} & set(known or [owner for _, owner in owners]):
        raise NotFound(f"there is no task {task}")
    if not known:
        raise LeaseLost
    return known[0] is not None


def count_slots(store: Storage, token: UUID, alive_seconds: float) -> int:
    """How many tasks the workers of a token that were seen within ``alive_seconds`` can hold."""
    with store.reading() as tx:
        return workers.slots_of(tx, token, alive_seconds)
