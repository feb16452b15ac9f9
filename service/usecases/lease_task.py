"""Give a worker its next task."""

from uuid import UUID

from service.domain.errors import Conflict, Draining
from service.failpoints import reach
from service.storage import Storage, tasks, workers
from service.storage.tasks import LeasedTask


def lease_task(store: Storage, worker: UUID, request: UUID, lease_seconds: float) -> LeasedTask | None:
    """Lease a task to the worker; None when nothing is ready for it or all its slots are taken.

    A repeated ``request`` gets the lease it got before while the worker holds it: a lost answer strands no task.

    Raises:
        NotFound: the worker is not registered.
        Conflict: the request had a lease that has ended.
        Draining: the worker gets no more tasks.
    """
    with store.transaction() as tx:
        # Holds the worker's row: its other requests wait, so neither slots nor a request are counted twice.
        seen = workers.see(tx, worker)
        earlier = tasks.attempt_of_request(tx, worker, request)
        if earlier is not None:
            held = tasks.held_lease(tx, earlier.task_id, earlier.n, lease_seconds)
            if held is None:
                raise Conflict("the lease of this request has ended; ask with a new request id")
            return held
        if seen.draining:
            raise Draining
        if tasks.count_leases(tx, worker) >= seen.slots:
            return None
        lease = tasks.claim(tx, worker, request, lease_seconds)
    if lease is not None:
        reach("after-claim")
    return lease
