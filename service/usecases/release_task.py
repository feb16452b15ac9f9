"""A worker hands a task back in good order."""

from uuid import UUID

from service.domain.errors import LeaseLost
from service.domain.states import AttemptOutcome, TaskState
from service.storage import Storage, tasks


def release_task(store: Storage, task: UUID, attempt: int) -> None:
    """Offer the task to others at once, without a strike. Releasing again, or after a cancellation, changes nothing.

    Of a lease that ran out meanwhile, while nobody else has the task, the strike is taken back, as by a heartbeat.

    Raises:
        LeaseLost: the attempt was superseded, or its task has ended otherwise.
        NotFound: there is no such task.
    """
    with store.transaction() as tx:
        row = tasks.get(tx, task, lock=True)
        told = tasks.attempt(tx, task, attempt)
        if told is None or row.attempt != attempt:
            raise LeaseLost
        if row.state is TaskState.CANCELLED:
            return
        if row.state is TaskState.READY:
            if told.outcome is AttemptOutcome.LOST:
                tasks.take_strike_back(tx, task, attempt)
                tasks.end_attempt(tx, task, attempt, AttemptOutcome.RELEASED)
            return
        if not tasks.make_ready(tx, task, attempt, row.strikes, backoff_seconds=0):
            raise LeaseLost
        tasks.end_attempt(tx, task, attempt, AttemptOutcome.RELEASED)
