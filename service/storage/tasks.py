"""Tasks: what workers lease. The attempt number is the fencing token, and all times are the database's."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert

from service.domain.errors import NotFound
from service.domain.states import AttemptOutcome, TaskKind, TaskState
from service.domain.work import TaskWork
from service.storage import snapshots
from service.storage.codec import decode, encode
from service.storage.engine import Transaction
from service.storage.experiments import SERVED, WANTS
from service.storage.snapshots import Snapshot
from service.storage.tables import task

CLAIM = f"""
WITH chosen AS (
    -- Who is next: higher priority first, then the experiment that was served longest ago, then its oldest task.
    -- A shared task is there once for every experiment that wants it; it costs the turn of the one it is taken for.
    SELECT t.id, e.id AS experiment_id
    FROM task t
    JOIN experiment_search es ON es.search_id = t.search_id
    JOIN experiment e ON e.id = es.experiment_id AND {SERVED}
    JOIN experiment_turn turn ON turn.experiment_id = e.id
    WHERE t.state = 'ready' AND t.not_before <= now() AND {WANTS}
      AND t.dataset_digest IN (SELECT digest FROM worker_dataset WHERE worker_id = :worker)
    ORDER BY e.priority DESC, turn.claimed_at NULLS FIRST, e.created_at, t.created_at, t.id
    LIMIT 1
    -- Claims at the same time pass over each other's tasks instead of waiting for them.
    FOR NO KEY UPDATE OF t SKIP LOCKED
), served AS (
    -- The wall clock, not now(): two claims of one moment still have an order.
    UPDATE experiment_turn SET claimed_at = clock_timestamp() FROM chosen
    WHERE experiment_turn.experiment_id = chosen.experiment_id
), leased AS (
    UPDATE task SET state = 'leased', attempt = attempt + 1, worker_id = :worker,
           fraction = (SELECT s.fraction FROM snapshot s WHERE s.task_id = task.id), leased_at = now(),
           lease_expires_at = now() + make_interval(secs => :lease)
    FROM chosen WHERE task.id = chosen.id
    RETURNING task.*
), started AS (
    -- And so the attempt begins after the one before it has ended, whenever this transaction began.
    INSERT INTO attempt (task_id, n, worker_id, request_id, started_at)
    SELECT id, attempt, :worker, :request, clock_timestamp() FROM leased
)
SELECT * FROM leased
"""

# The strikes of a task whose attempt ``a`` was lost and answers after all; one lost in an outage was none.
STRIKES_OF_ONE_BACK = "CASE WHEN a.reason = 'lost' THEN greatest(strikes - 1, 0) ELSE strikes END"


@dataclass(frozen=True, slots=True)
class LeasedTask:
    """A task held by a worker; the fields are those of ``contract.tasks.Lease``."""

    task: UUID
    attempt: int
    kind: TaskKind
    label: str
    expires_at: datetime
    lease_seconds: float
    work: TaskWork
    snapshot: Snapshot | None


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task about to be stored: of a ``trial``, of a ``candidate`` to be confirmed, or of a search on a seed."""

    id: UUID
    kind: TaskKind
    search: UUID
    seed: int
    label: str
    work: TaskWork
    trial: UUID | None = None
    candidate: UUID | None = None


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task without its work."""

    id: UUID
    kind: TaskKind
    state: TaskState
    search_id: UUID
    trial_id: UUID | None
    seed: int
    attempt: int
    strikes: int
    label: str


@dataclass(frozen=True, slots=True)
class Expired:
    """A task whose lease ran out, and when it did."""

    task: TaskRow
    expired_at: datetime


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One lease of a task."""

    task_id: UUID
    n: int
    worker_id: UUID
    outcome: AttemptOutcome | None
    progressed: bool


def add(tx: Transaction, new: Sequence[NewTask]) -> None:
    """Insert ready tasks; one that is there already for its trial, its candidate or its search, on a seed, stays."""
    if not new:
        return
    tx.execute(
        insert(task).on_conflict_do_nothing(),
        [
            {
                "id": item.id,
                "kind": item.kind,
                "state": TaskState.READY,
                "search_id": item.search,
                "trial_id": item.trial,
                "candidate_id": item.candidate,
                "seed": item.seed,
                "label": item.label,
                "work": encode(item.work),
                "dataset_digest": item.work.dataset.digest,
            }
            for item in new
        ],
    )


def claim(tx: Transaction, worker: UUID, request: UUID, lease_seconds: float) -> LeasedTask | None:
    """Lease the next task that the worker can do, as a new attempt; None when there is none."""
    row = tx.execute(CLAIM, {"worker": worker, "request": request, "lease": lease_seconds}).one_or_none()
    return None if row is None else _lease(tx, row, lease_seconds)


def attempt_of_request(tx: Transaction, worker: UUID, request: UUID) -> AttemptRow | None:
    """The attempt that an earlier claim with this request id started."""
    row = tx.execute(
        "SELECT * FROM attempt WHERE worker_id = :worker AND request_id = :request",
        {"worker": worker, "request": request},
    ).one_or_none()
    return None if row is None else _attempt(row)


def attempt(tx: Transaction, task: UUID, n: int) -> AttemptRow | None:
    """One attempt of a task."""
    row = tx.execute("SELECT * FROM attempt WHERE task_id = :task AND n = :n", {"task": task, "n": n}).one_or_none()
    return None if row is None else _attempt(row)


def held_lease(tx: Transaction, task: UUID, n: int, lease_seconds: float) -> LeasedTask | None:
    """The lease of an attempt that still has its task, with its full time: the first beat is one beat from now."""
    row = tx.execute(
        "UPDATE task SET lease_expires_at = now() + make_interval(secs => :lease)"
        " WHERE id = :task AND attempt = :n AND state = 'leased' RETURNING *",
        {"task": task, "n": n, "lease": lease_seconds},
    ).one_or_none()
    return None if row is None else _lease(tx, row, lease_seconds)


def count_leases(tx: Transaction, worker: UUID) -> int:
    """Tasks that a worker holds."""
    count: int = tx.execute(
        "SELECT count(*) FROM task WHERE worker_id = :worker AND state = 'leased'", {"worker": worker}
    ).scalar_one()
    return count


def get(tx: Transaction, task_id: UUID, *, lock: bool = False) -> TaskRow:
    """One task; with ``lock`` it stays as it is until the transaction ends."""
    suffix = " FOR NO KEY UPDATE" if lock else ""
    row = tx.execute(f"SELECT * FROM task WHERE id = :id{suffix}", {"id": task_id}).one_or_none()
    if row is None:
        raise NotFound(f"there is no task {task_id}")
    return _row(row)


def renew(tx: Transaction, task_id: UUID, n: int, lease_seconds: float, fraction: float | None) -> datetime | None:
    """Extend the lease of the current attempt and return its end; None when the attempt no longer has the task.

    A lease that expired but was not given to anyone else is taken up again, and its strike taken back.
    """
    row = tx.execute(
        f"""
        UPDATE task SET state = 'leased', worker_id = a.worker_id,
               lease_expires_at = now() + make_interval(secs => :lease), fraction = coalesce(:fraction, fraction),
               strikes = {STRIKES_OF_ONE_BACK}
        FROM attempt a
        WHERE task.id = :id AND task.attempt = :n AND a.task_id = task.id AND a.n = task.attempt
          AND (task.state = 'leased' OR (task.state = 'ready' AND a.outcome = 'lost'))
        RETURNING task.lease_expires_at AS expires_at, a.outcome
        """,
        {"id": task_id, "n": n, "lease": lease_seconds, "fraction": fraction},
    ).one_or_none()
    if row is None:
        return None
    if row.outcome == AttemptOutcome.LOST:
        tx.execute(
            "UPDATE attempt SET outcome = NULL, ended_at = NULL, reason = NULL, seconds = NULL"
            " WHERE task_id = :id AND n = :n AND outcome = 'lost'",
            {"id": task_id, "n": n},
        )
    expires_at: datetime = row.expires_at
    return expires_at


def end(
    tx: Transaction, task_id: UUID, n: int, state: TaskState, *, failure: str | None = None, strikes: int | None = None
) -> bool:
    """End a task for its current attempt, even one whose lease expired; False when the attempt no longer has it.

    Without ``strikes`` it keeps those it has, but for the one of an attempt that was lost and answers after all.
    """
    ended = tx.execute(
        f"""
        UPDATE task SET state = :state, finished_at = now(), failure = :failure,
               strikes = coalesce(
                   :strikes, {STRIKES_OF_ONE_BACK}
               ),
               worker_id = NULL, lease_expires_at = NULL
        FROM attempt a
        WHERE task.id = :id AND task.attempt = :n AND a.task_id = task.id AND a.n = task.attempt
          AND (task.state = 'leased' OR (task.state = 'ready' AND a.outcome = 'lost'))
        """,
        {"id": task_id, "n": n, "state": state, "failure": failure, "strikes": strikes},
    )
    return ended.rowcount == 1


def make_ready(tx: Transaction, task_id: UUID, n: int, strikes: int, backoff_seconds: float) -> bool:
    """Offer a leased task again after a rest; False when the attempt no longer has it."""
    changed = tx.execute(
        """
        UPDATE task SET state = 'ready', worker_id = NULL, lease_expires_at = NULL, strikes = :strikes,
               not_before = now() + make_interval(secs => :backoff)
        WHERE id = :id AND attempt = :n AND state = 'leased'
        """,
        {"id": task_id, "n": n, "strikes": strikes, "backoff": backoff_seconds},
    )
    return changed.rowcount == 1


def take_strike_back(tx: Transaction, task_id: UUID, n: int) -> None:
    """Of a locked, ready task whose attempt was lost and tells after all that it stopped in good order."""
    tx.execute(
        f"UPDATE task SET strikes = {STRIKES_OF_ONE_BACK} FROM attempt a"
        " WHERE task.id = :id AND a.task_id = task.id AND a.n = :n",
        {"id": task_id, "n": n},
    )


def end_attempt(
    tx: Transaction,
    task: UUID,
    n: int,
    outcome: AttemptOutcome,
    *,
    reason: str | None = None,
    message: str | None = None,
    log: str | None = None,
    seconds: float | None = None,
) -> None:
    """Write down how a lease ended, after ``seconds`` of the worker's, or until now, or its silence, if lost."""
    tx.execute(
        """
        UPDATE attempt SET outcome = :outcome, ended_at = clock_timestamp(), reason = :reason, message = :message,
               log = :log, seconds = coalesce(:seconds, EXTRACT(epoch FROM greatest(started_at, CASE
                   WHEN :outcome = 'lost' THEN (SELECT last_seen_at FROM worker WHERE id = attempt.worker_id)
                   ELSE clock_timestamp()
               END) - started_at))
        WHERE task_id = :task AND n = :n
        """,
        {
            "task": task,
            "n": n,
            "outcome": outcome,
            "reason": reason,
            "message": message,
            "log": log,
            "seconds": seconds,
        },
    )


def expired(tx: Transaction, limit: int) -> list[Expired]:
    """Leases that ran out, locked; those that a renewal or a result holds at this moment are left alone."""
    rows = tx.execute(
        """
        SELECT * FROM task WHERE state = 'leased' AND lease_expires_at < now()
        ORDER BY lease_expires_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
        """,
        {"limit": limit},
    )
    return [Expired(_row(row), row.lease_expires_at) for row in rows]


def held_by(tx: Transaction, worker: UUID) -> list[TaskRow]:
    """The tasks a worker holds, locked."""
    rows = tx.execute(
        "SELECT * FROM task WHERE worker_id = :worker AND state = 'leased' ORDER BY id FOR NO KEY UPDATE",
        {"worker": worker},
    )
    return [_row(row) for row in rows]


def extend_all(tx: Transaction, lease_seconds: float) -> int:
    """Give every lease a full time again."""
    return tx.execute(
        "UPDATE task SET lease_expires_at = now() + make_interval(secs => :lease) WHERE state = 'leased'",
        {"lease": lease_seconds},
    ).rowcount


def is_wanted(tx: Transaction, task_id: UUID) -> bool:
    """Whether an experiment wants a task now."""
    wanted: bool = tx.execute(
        f"""
        SELECT EXISTS (
            SELECT FROM task t
            JOIN experiment_search es ON es.search_id = t.search_id
            JOIN experiment e ON e.id = es.experiment_id
            WHERE t.id = :id AND {SERVED} AND {WANTS}
        )
        """,
        {"id": task_id},
    ).scalar_one()
    return wanted


def of_searches(tx: Transaction, searches: Collection[UUID], kinds: Collection[TaskKind]) -> list[TaskRow]:
    """Tasks of some kinds that were not cancelled, but for fits that confirm a trial."""
    rows = tx.execute(
        """
        SELECT * FROM task
        WHERE search_id = ANY(CAST(:searches AS uuid[])) AND kind = ANY(:kinds) AND state <> 'cancelled'
          AND candidate_id IS NULL
        """,
        {"searches": list(searches), "kinds": [str(kind) for kind in kinds]},
    )
    return [_row(row) for row in rows]


def count_pending_others(tx: Transaction) -> int:
    """Ready and leased tasks that are no trials and whose experiments are served: they keep workers busy as well."""
    count: int = tx.execute(
        f"""
        SELECT count(DISTINCT t.id) FROM task t
        JOIN experiment_search es ON es.search_id = t.search_id
        JOIN experiment e ON e.id = es.experiment_id AND {SERVED}
        WHERE t.state IN ('ready', 'leased') AND t.kind <> 'trial' AND {WANTS}
        """
    ).scalar_one()
    return count


def _lease(tx: Transaction, row: Any, lease_seconds: float) -> LeasedTask:
    return LeasedTask(
        task=row.id,
        attempt=row.attempt,
        kind=TaskKind(row.kind),
        label=row.label,
        expires_at=row.lease_expires_at,
        lease_seconds=lease_seconds,
        work=decode(TaskWork, row.work),
        snapshot=None if row.progress is None else snapshots.newest(tx, row.id),
    )


def _row(row: Any) -> TaskRow:
    return TaskRow(
        id=row.id,
        kind=TaskKind(row.kind),
        state=TaskState(row.state),
        search_id=row.search_id,
        trial_id=row.trial_id,
        seed=row.seed,
        attempt=row.attempt,
        strikes=row.strikes,
        label=row.label,
    )


def _attempt(row: Any) -> AttemptRow:
    outcome = None if row.outcome is None else AttemptOutcome(row.outcome)
    return AttemptRow(row.task_id, row.n, row.worker_id, outcome, row.progressed)
