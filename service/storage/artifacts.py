"""The register of artifacts; their bytes lie in the artifact store under the same names.

An upload announces its name before its bytes are stored, and registers them only if that announcement still stands. A
collection first withdraws the row from use, and removes the bytes in a transaction of its own while it holds the row:
should its end never be committed, what stays is a name that waits for bytes. So an artifact is never registered without
its bytes, whatever happens at the same time.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service.storage.engine import Transaction

# What it takes to put verified bytes into their place and to register them; more is no error, but costs an upload.
UPLOAD_SECONDS = 60.0
# What a task still to be done works on is kept by the results that made it, and once more by the task itself, whose
# search may be forgotten first.
_WORKED_ON = """
    EXISTS (SELECT FROM result r WHERE r.checkpoint = a.sha256)
    OR EXISTS (
        SELECT FROM task t WHERE t.state IN ('ready', 'leased') AND (
            t.work ->> 'checkpoint' = a.sha256
            OR t.work -> 'prefix' @> jsonb_build_array(jsonb_build_object('checkpoint', a.sha256))
        )
    )
"""
# Everything that names an artifact. The snapshots of ended tasks do so until a collection drops them,
REACHABLE = f"{_WORKED_ON} OR EXISTS (SELECT FROM snapshot s WHERE s.sha256 = a.sha256)"
# and need it no more.
NEEDED = f"""{_WORKED_ON} OR EXISTS (
    SELECT FROM snapshot s JOIN task t ON t.id = s.task_id
    WHERE s.sha256 = a.sha256 AND t.state IN ('ready', 'leased', 'failed')
)"""


@dataclass(frozen=True, slots=True)
class Registered:
    """An artifact by name, with its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Withdrawn(Registered):
    """An artifact that nobody may use any more, and when it was last touched."""

    touched_at: datetime


def announce(tx: Transaction, sha256: str) -> datetime:
    """Keep a name whose bytes are about to be stored from collection for a while; the announcement, for ``add``."""
    announced: datetime = tx.execute(
        """
        INSERT INTO artifact (sha256, size, stored, created_at) VALUES (:sha256, 0, false, clock_timestamp())
        ON CONFLICT (sha256) DO UPDATE SET touched_at = now() RETURNING created_at
        """,
        {"sha256": sha256},
    ).scalar_one()
    return announced


def add(tx: Transaction, sha256: str, size: int, announced: datetime) -> bool:
    """Register announced bytes, which are stored by now; False if a collection took row and bytes meanwhile."""
    added = tx.execute(
        """
        UPDATE artifact SET size = :size, stored = true, touched_at = now()
        WHERE sha256 = :sha256 AND created_at = :announced
        """,
        {"sha256": sha256, "size": size, "announced": announced},
    )
    return added.rowcount == 1


def size(tx: Transaction, sha256: str) -> int | None:
    """The size of a stored artifact in bytes; it cannot be collected before the transaction ends."""
    found: int | None = tx.execute(
        "SELECT size FROM artifact WHERE sha256 = :sha256 AND stored FOR KEY SHARE", {"sha256": sha256}
    ).scalar_one_or_none()
    return found


def touch(tx: Transaction, sha256: str) -> bool:
    """Keep a stored artifact from collection for a while; whether there is one."""
    touched = tx.execute("UPDATE artifact SET touched_at = now() WHERE sha256 = :sha256 AND stored", {"sha256": sha256})
    return touched.rowcount == 1


def is_stored(tx: Transaction, sha256: str) -> bool:
    """Whether the register has the artifact with its bytes."""
    found: bool = tx.execute(
        "SELECT EXISTS (SELECT FROM artifact WHERE sha256 = :sha256 AND stored)", {"sha256": sha256}
    ).scalar_one()
    return found


def is_named_for(tx: Transaction, sha256: str, token: UUID) -> bool:
    """Whether the artifact stands in the work, or is the snapshot, of an attempt of the token that may still write.

    Looked through are the tasks that are leased or have just been lost, by their indexes, however many have ended.
    """
    named: bool = tx.execute(
        """
        WITH held AS (
            SELECT id, work, worker_id FROM task WHERE state = 'leased'
            UNION ALL
            SELECT t.id, t.work, a.worker_id FROM task t JOIN attempt a ON a.task_id = t.id AND a.n = t.attempt
            WHERE t.state = 'ready' AND a.outcome = 'lost'
        )
        SELECT EXISTS (
            SELECT FROM held h JOIN worker w ON w.id = h.worker_id
            -- A worker from before tokens were noted is anybody's for now.
            WHERE (w.token_id = :token OR w.token_id IS NULL) AND (
                h.work ->> 'checkpoint' = :sha256
                OR h.work -> 'prefix' @> jsonb_build_array(jsonb_build_object('checkpoint', CAST(:sha256 AS text)))
                OR EXISTS (SELECT FROM snapshot s WHERE s.task_id = h.id AND s.sha256 = :sha256)
            )
        )
        """,
        {"sha256": sha256, "token": token},
    ).scalar_one()
    return named


def known(tx: Transaction, names: Collection[str]) -> set[str]:
    """Those of some names that the register has, stored or announced."""
    rows = tx.execute("SELECT sha256 FROM artifact WHERE sha256 = ANY(:names)", {"names": list(names)})
    return {row.sha256 for row in rows}


def adopt(tx: Transaction, sha256: str, size: int, age_seconds: float) -> None:
    """Register bytes that were found without a row, as old as they are; nothing if a row has come meanwhile."""
    tx.execute(
        """
        INSERT INTO artifact (sha256, size, touched_at)
        VALUES (:sha256, :size, now() - make_interval(secs => :age)) ON CONFLICT DO NOTHING
        """,
        {"sha256": sha256, "size": size, "age": age_seconds},
    )


def unreachable(tx: Transaction, grace_seconds: float, limit: int) -> list[Registered]:
    """Artifacts that nothing names and that nobody has uploaded of late, the oldest first."""
    return _old(tx, REACHABLE, grace_seconds, limit)


def unneeded(tx: Transaction, grace_seconds: float) -> list[Registered]:
    """Those that nothing will name any more once the snapshots of ended tasks are dropped, the oldest first."""
    return _old(tx, NEEDED, grace_seconds, None)


def _old(tx: Transaction, kept: str, grace_seconds: float, limit: int | None) -> list[Registered]:
    rows = tx.execute(
        f"""
        SELECT a.sha256, a.size FROM artifact a
        WHERE a.touched_at < now() - make_interval(secs => :grace) AND NOT ({kept})
        ORDER BY a.touched_at LIMIT :limit
        """,
        {"grace": grace_seconds, "limit": limit},
    )
    return [Registered(row.sha256, row.size) for row in rows]


def withdraw(tx: Transaction, sha256: str, grace_seconds: float) -> Withdrawn | None:
    """Take an artifact out of use if nothing names it: from now on a new upload is what it takes to have it.

    None if it is reachable after all, was uploaded of late, or is in use at this moment. One whose bytes are on their
    way is in use for ``UPLOAD_SECONDS`` in any case.
    """
    # Locked first and judged by a statement of its own, which sees what the lock waited for.
    held = tx.execute("SELECT FROM artifact WHERE sha256 = :sha256 FOR UPDATE SKIP LOCKED", {"sha256": sha256})
    if held.first() is None:
        return None
    row = tx.execute(
        f"""
        UPDATE artifact a SET stored = false
        WHERE a.sha256 = :sha256 AND NOT ({REACHABLE})
          AND a.touched_at <= now() - make_interval(secs => CASE WHEN a.stored THEN :grace ELSE :announced END)
        RETURNING a.size, a.touched_at
        """,
        {"sha256": sha256, "grace": grace_seconds, "announced": max(grace_seconds, UPLOAD_SECONDS)},
    ).one_or_none()
    return None if row is None else Withdrawn(sha256, row.size, row.touched_at)


def forget(tx: Transaction, withdrawn: Withdrawn) -> bool:
    """Delete the row of a withdrawn artifact, which is held until the transaction ends; False if it is in use again."""
    gone = tx.execute(
        "DELETE FROM artifact WHERE sha256 = :sha256 AND NOT stored AND touched_at = :touched",
        {"sha256": withdrawn.sha256, "touched": withdrawn.touched_at},
    )
    return gone.rowcount == 1


def needed(tx: Transaction) -> list[Registered]:
    """Every stored artifact that something needs."""
    rows = tx.execute(f"SELECT a.sha256, a.size FROM artifact a WHERE a.stored AND ({NEEDED}) ORDER BY a.sha256")
    return [Registered(row.sha256, row.size) for row in rows]
