"""Attempts: which may still write, and what became of those without a result."""

from uuid import UUID

from service.domain.views import FailedAttempt
from service.storage import retries
from service.storage.engine import Transaction
from service.storage.experiments import WANTS


def holds(tx: Transaction, task: UUID, n: int) -> bool:
    """Whether an attempt may still write: its lease goes on, or ran out and nobody else has claimed the task."""
    held: bool = tx.execute(
        """
        SELECT EXISTS (
            SELECT FROM task t JOIN attempt a ON a.task_id = t.id AND a.n = t.attempt
            WHERE t.id = :task AND t.attempt = :n
              AND (t.state = 'leased' OR (t.state = 'ready' AND a.outcome = 'lost'))
        )
        """,
        {"task": task, "n": n},
    ).scalar_one()
    return held


def failed(tx: Transaction, experiment: UUID, limit: int, *, log: bool) -> tuple[FailedAttempt, ...]:
    """The attempts of an experiment's tasks that ended without a result and by no one's wish, newest first."""
    again = set(retries.retryable(tx, experiment))
    rows = tx.execute(
        f"""
        SELECT a.*, t.kind, t.label, t.search_id, t.state, w.name AS worker
        FROM experiment_search es
        JOIN task t ON t.search_id = es.search_id AND {WANTS}
        JOIN attempt a ON a.task_id = t.id AND a.outcome IN ('lost', 'failed')
        JOIN worker w ON w.id = a.worker_id
        WHERE es.experiment_id = :experiment ORDER BY a.ended_at DESC, a.task_id, a.n DESC LIMIT :limit
        """,
        {"experiment": experiment, "limit": limit},
    )
    return tuple(
        FailedAttempt(
            task=row.task_id,
            attempt=row.n,
            kind=row.kind,
            label=row.label,
            search=row.search_id,
            worker=row.worker,
            reason=row.reason,
            message=row.message or "",
            started_at=row.started_at,
            ended_at=row.ended_at,
            seconds=row.seconds,
            task_state=row.state,
            retryable=row.task_id in again,
            log=(row.log or "") if log else None,
        )
        for row in rows
    )


def count_failed(tx: Transaction, experiment: UUID) -> int:
    """How many such attempts there are."""
    count: int = tx.execute(
        f"""
        SELECT count(*) FROM experiment_search es
        JOIN task t ON t.search_id = es.search_id AND {WANTS}
        JOIN attempt a ON a.task_id = t.id AND a.outcome IN ('lost', 'failed')
        WHERE es.experiment_id = :experiment
        """,
        {"experiment": experiment},
    ).scalar_one()
    return count
