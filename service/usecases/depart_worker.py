"""A worker says goodbye."""

from uuid import UUID

from service.domain.states import AttemptOutcome
from service.storage import Storage, tasks, workers


def depart_worker(store: Storage, worker: UUID) -> None:
    """Offer what it still held to others, without a strike. Repeated or unknown, it changes nothing."""
    with store.transaction() as tx:
        # Before its tasks, as claims and heartbeats lock them.
        workers.lock(tx, worker)
        for task in tasks.held_by(tx, worker):
            tasks.make_ready(tx, task.id, task.attempt, task.strikes, backoff_seconds=0)
            tasks.end_attempt(tx, task.id, task.attempt, AttemptOutcome.RELEASED)
        workers.depart(tx, worker)
