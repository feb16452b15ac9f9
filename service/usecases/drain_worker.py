"""Let a worker hand back what it holds and leave, or change one's mind."""

from uuid import UUID

from service.domain.views import WorkerView
from service.storage import Storage, workers


def drain_worker(store: Storage, worker: UUID, alive_seconds: float, *, draining: bool = True) -> WorkerView:
    """Its next heartbeat and its next claim tell it. What it hands back costs no strike; draining twice is once.

    Raises NotFound.
    """
    with store.transaction() as tx:
        workers.drain(tx, worker, draining=draining)
        return workers.view(tx, worker, alive_seconds)
