"""Trainings in the middle: the newest snapshot of each task, and how far any of them got."""

from dataclasses import dataclass
from uuid import UUID

from service.storage.engine import Transaction


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The fields are those of ``contract.tasks.Snapshot``."""

    sha256: str
    fraction: float


def newest(tx: Transaction, task: UUID) -> Snapshot | None:
    """Where the next attempt of a task may go on from."""
    row = tx.execute("SELECT sha256, fraction FROM snapshot WHERE task_id = :task", {"task": task}).one_or_none()
    return None if row is None else Snapshot(row.sha256, row.fraction)


def put(tx: Transaction, task: UUID, attempt: int, sha256: str, fraction: float) -> str | None:
    """Make a snapshot the newest of a locked task; the digest that it takes the place of, if another.

    A snapshot that an attempt sent earlier and that arrives later changes nothing, and its own digest comes back.
    """
    last = tx.execute("SELECT sha256, attempt, fraction FROM snapshot WHERE task_id = :task", {"task": task}).first()
    if last is not None and last.attempt == attempt and last.fraction > fraction:
        return None if last.sha256 == sha256 else sha256
    tx.execute(
        """
        INSERT INTO snapshot (task_id, attempt, sha256, fraction) VALUES (:task, :attempt, :sha256, :fraction)
        ON CONFLICT (task_id) DO UPDATE SET attempt = excluded.attempt, sha256 = excluded.sha256,
               fraction = excluded.fraction, stored_at = now()
        """,
        {"task": task, "attempt": attempt, "sha256": sha256, "fraction": fraction},
    )
    return None if last is None or last.sha256 == sha256 else str(last.sha256)


def advance(tx: Transaction, task: UUID, attempt: int, fraction: float) -> bool:
    """Whether a snapshot is further than any of the task before; if so, its attempt has made progress."""
    further = tx.execute(
        "UPDATE task SET progress = :fraction WHERE id = :task AND coalesce(progress, 0) < :fraction",
        {"task": task, "fraction": fraction},
    )
    if further.rowcount == 0:
        return False
    tx.execute("UPDATE attempt SET progressed = true WHERE task_id = :task AND n = :n", {"task": task, "n": attempt})
    return True


def drop_ended(tx: Transaction, grace_seconds: float) -> list[str]:
    """Forget the snapshots of tasks that have ended, of failed ones after the grace; their digests.

    A failed task may be given another chance, which then goes on from its snapshot.
    """
    rows = tx.execute(
        """
        DELETE FROM snapshot WHERE task_id IN (
            SELECT t.id FROM task t JOIN snapshot s ON s.task_id = t.id
            WHERE t.state IN ('done', 'cancelled')
               OR (t.state = 'failed' AND t.finished_at < now() - make_interval(secs => :grace))
            -- One that is given another chance at this moment keeps its snapshot.
            FOR NO KEY UPDATE OF t SKIP LOCKED
        ) RETURNING sha256
        """,
        {"grace": grace_seconds},
    )
    return [row.sha256 for row in rows]
