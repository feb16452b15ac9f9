"""An attempt ended without a result, and its worker says why."""

from dataclasses import dataclass
from uuid import UUID

from service.domain.errors import LeaseLost
from service.domain.leasing import FailureReason, last_lines
from service.domain.states import AttemptOutcome, TaskState
from service.storage import Storage, searches, tasks
from service.usecases.end_attempt import end_attempt


@dataclass(frozen=True, slots=True)
class FailureAccepted:
    """The fields are those of ``contract.tasks.FailureAccepted``."""

    task: UUID
    attempt: int
    state: TaskState


def record_failure(
    store: Storage,
    task: UUID,
    attempt: int,
    reason: FailureReason,
    max_strikes: int,
    *,
    message: str = "",
    log: str = "",
    seconds: float | None = None,
) -> FailureAccepted:
    """Offer the task again after a rest, or end it. Telling the same attempt's failure again changes nothing.

    Of a lease that ran out meanwhile the strike stays, unless nobody else has the task and it was nobody's fault.

    A trial beyond its memory limit ends its search with it: another one would need as much.

    Raises:
        LeaseLost: the attempt was superseded, or its task has ended otherwise.
        NotFound: there is no such task.
    """
    with store.transaction() as tx:
        if reason is FailureReason.MEMORY_LIMIT:
            searches.lock_of_task(tx, task)
        row = tasks.get(tx, task, lock=True)
        told = tasks.attempt(tx, task, attempt)
        if told is None or row.attempt != attempt:
            raise LeaseLost
        if told.outcome is AttemptOutcome.FAILED or row.state is TaskState.CANCELLED:
            return FailureAccepted(task, attempt, row.state)
        if told.outcome is AttemptOutcome.LOST and row.state in (TaskState.READY, TaskState.FAILED):
            # The strike is counted already: the task waits for a worker as it should, or is a dead letter.
            if row.state is TaskState.READY and reason in FailureReason.nobodys():
                tasks.take_strike_back(tx, task, attempt)
                kept = last_lines(log)
                tasks.end_attempt(
                    tx, task, attempt, AttemptOutcome.FAILED, reason=reason, message=message, log=kept, seconds=seconds
                )
            return FailureAccepted(task, attempt, row.state)
        verdict = end_attempt(tx, row, reason, max_strikes, message=message, log=log, seconds=seconds)
        if verdict is None:
            raise LeaseLost
    return FailureAccepted(task, attempt, verdict.state)
