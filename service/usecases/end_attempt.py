"""What an attempt without a result means for its task and trial; shared by failures told and leases lost."""

from service.domain.leasing import FailureReason, Verdict, judge, last_lines
from service.domain.states import AttemptOutcome, TaskKind, TaskState, TrialState
from service.storage import Transaction, tasks, trials
from service.storage.tasks import TaskRow
from service.usecases.announce_news import News, announce_news
from service.usecases.end_search import end_infeasible


def end_attempt(
    tx: Transaction,
    task: TaskRow,
    reason: FailureReason,
    max_strikes: int,
    *,
    message: str = "",
    log: str = "",
    seconds: float | None = None,
) -> Verdict | None:
    """Apply the domain's verdict on a locked task's current attempt; None when the attempt no longer has the task."""
    held = tasks.attempt(tx, task.id, task.attempt)
    progressed = held is not None and held.progressed
    verdict = judge(reason, task.strikes, max_strikes, progressed=progressed)
    failure = f"{reason}: {message}" if message else str(reason)
    if verdict.state is TaskState.READY:
        applied = tasks.make_ready(tx, task.id, task.attempt, verdict.strikes, verdict.backoff_seconds)
    else:
        applied = tasks.end(tx, task.id, task.attempt, verdict.state, failure=failure, strikes=verdict.strikes)
    if not applied:
        return None
    silent = reason in (FailureReason.LOST, FailureReason.OUTAGE)
    outcome = AttemptOutcome.LOST if silent else AttemptOutcome.FAILED
    kept = last_lines(log)
    tasks.end_attempt(tx, task.id, task.attempt, outcome, reason=reason, message=message, log=kept, seconds=seconds)
    if task.trial_id is not None and verdict.state is not TaskState.READY:
        ended = TrialState.FAILED if verdict.state is TaskState.FAILED else TrialState.CANCELLED
        trials.finish(tx, task.trial_id, ended, failure=failure)
    told = {
        "task": str(task.id),
        "label": task.label,
        "attempt": task.attempt,
        "reason": str(reason),
        "message": message,
        "state": str(verdict.state),
    }
    kind = "attempt-lost" if silent else "attempt-failed"
    announce_news(tx, [News(task.search_id, kind, told)])
    if task.kind is TaskKind.TRIAL and reason is FailureReason.MEMORY_LIMIT:
        end_infeasible(tx, task.search_id)
    return verdict
