"""Workers, and the data sets they hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import dumps
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from service.domain.errors import Forbidden, NotFound
from service.domain.experiment import Dataset
from service.domain.views import WorkerView
from service.storage.engine import Transaction
from service.storage.tables import worker_dataset

# A worker that was not seen for so long does not count as there; as long as a lease, where nobody says otherwise.
ALIVE_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers that are there: how many, and how many tasks they can hold."""

    workers: int
    slots: int


@dataclass(frozen=True, slots=True)
class Owner:
    """The token that announced a worker, none if that was before tokens were noted; and the worker's slots."""

    token: UUID | None
    slots: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker as it asks: how many tasks it may hold, none after its goodbye, and whether it drains."""

    slots: int
    draining: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """A data set, by content, and how many live workers hold it."""

    dataset: Dataset
    held_by: int


def register(
    tx: Transaction,
    worker_id: UUID,
    name: str,
    device: str,
    slots: int,
    info: Mapping[str, str],
    token: UUID | None = None,
) -> bool:
    """Add a worker, which belongs to its token from then on, or bring it up to date; True when it was not known.

    Raises Forbidden for a worker of another token.
    """
    row = tx.execute(
        """
        INSERT INTO worker (id, name, device, slots, info, token_id)
        VALUES (:id, :name, :device, :slots, CAST(:info AS jsonb), :token)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, device = excluded.device, slots = excluded.slots,
            info = excluded.info, last_seen_at = now(), departed_at = NULL,
            token_id = coalesce(worker.token_id, excluded.token_id)
        WHERE worker.token_id IS NULL OR worker.token_id = excluded.token_id
        RETURNING xmax = 0 AS inserted
        """,
        {"id": worker_id, "name": name, "device": device, "slots": slots, "info": dumps(dict(info)), "token": token},
    ).one_or_none()
    if row is None:
        raise Forbidden("this worker was announced with another token")
    return bool(row.inserted)


def owner(tx: Transaction, worker_id: UUID) -> Owner | None:
    """Whose a worker is; None when there is no such worker."""
    row = tx.execute("SELECT token_id, slots FROM worker WHERE id = :id", {"id": worker_id}).one_or_none()
    return None if row is None else Owner(row.token_id, row.slots)


def attempt_owners(tx: Transaction, task: UUID) -> list[tuple[int, UUID | None]]:
    """The attempts of a task, each with the token that announced its worker, if that was noted."""
    rows = tx.execute(
        "SELECT a.n, w.token_id FROM attempt a JOIN worker w ON w.id = a.worker_id WHERE a.task_id = :task",
        {"task": task},
    )
    return [(row.n, row.token_id) for row in rows]


def slots_of(tx: Transaction, token: UUID, alive_seconds: float) -> int:
    """How many tasks the live workers of a token can hold."""
    slots: int = tx.execute(
        """
        SELECT coalesce(sum(slots), 0) FROM worker WHERE token_id = :token AND departed_at IS NULL
          AND last_seen_at > now() - make_interval(secs => :alive)
        """,
        {"token": token, "alive": alive_seconds},
    ).scalar_one()
    return int(slots)


def hold(tx: Transaction, worker_id: UUID, datasets: Sequence[Dataset]) -> None:
    """Replace the list of data sets that a worker holds."""
    tx.execute("DELETE FROM worker_dataset WHERE worker_id = :id", {"id": worker_id})
    if datasets:
        tx.execute(
            insert(worker_dataset),
            [
                {
                    "worker_id": worker_id,
                    "name": dataset.name,
                    "digest": dataset.digest,
                    "shape": list(dataset.shape),
                    "classes": dataset.classes,
                    "train": dataset.train,
                    "test": dataset.test,
                }
                for dataset in {dataset.name: dataset for dataset in datasets}.values()
            ],
        )


def see(tx: Transaction, worker_id: UUID) -> Seen:
    """Note that a worker is alive, and keep its other requests waiting."""
    row = tx.execute(
        "UPDATE worker SET last_seen_at = now() WHERE id = :id"
        " RETURNING CASE WHEN departed_at IS NULL THEN slots ELSE 0 END AS slots, draining_at IS NOT NULL AS draining",
        {"id": worker_id},
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no worker {worker_id}; register it first")
    return Seen(row.slots, row.draining)


def see_owner(tx: Transaction, task: UUID, attempt: int) -> bool:
    """Note that the worker of an attempt is alive; whether it drains."""
    draining = tx.execute(
        "UPDATE worker SET last_seen_at = now() FROM attempt a"
        " WHERE a.task_id = :task AND a.n = :attempt AND worker.id = a.worker_id RETURNING draining_at IS NOT NULL",
        {"task": task, "attempt": attempt},
    ).scalar_one_or_none()
    return bool(draining)


def drain(tx: Transaction, worker_id: UUID, *, draining: bool) -> None:
    """Let a worker drain, or no more; an unknown one stays unknown."""
    tx.execute(
        "UPDATE worker SET draining_at = CASE WHEN :draining THEN coalesce(draining_at, now()) END WHERE id = :id",
        {"id": worker_id, "draining": draining},
    )


def lock(tx: Transaction, worker_id: UUID) -> None:
    """Keep a worker's other requests waiting; an unknown one has none."""
    tx.execute("SELECT FROM worker WHERE id = :id FOR NO KEY UPDATE", {"id": worker_id})


def depart(tx: Transaction, worker_id: UUID) -> None:
    """Note a clean goodbye."""
    tx.execute("UPDATE worker SET departed_at = now() WHERE id = :id AND departed_at IS NULL", {"id": worker_id})


def fleet(tx: Transaction, alive_seconds: float) -> Fleet:
    """The workers seen within ``alive_seconds``, but for those that drain: they take no more tasks."""
    row = tx.execute(
        """
        SELECT count(*) AS workers, coalesce(sum(slots), 0) AS slots FROM worker
        WHERE departed_at IS NULL AND draining_at IS NULL
          AND last_seen_at > now() - make_interval(secs => :alive)
        """,
        {"alive": alive_seconds},
    ).one()
    return Fleet(row.workers, int(row.slots))


def holders(tx: Transaction, alive_seconds: float, digest: str) -> int:
    """How many of those workers hold a data set of this content."""
    held: int = tx.execute(
        """
        SELECT count(DISTINCT w.id) FROM worker_dataset d JOIN worker w ON w.id = d.worker_id
        WHERE d.digest = :digest AND w.departed_at IS NULL AND w.draining_at IS NULL
          AND w.last_seen_at > now() - make_interval(secs => :alive)
        """,
        {"digest": digest, "alive": alive_seconds},
    ).scalar_one()
    return held


def holdings(tx: Transaction, alive_seconds: float, name: str | None = None) -> list[Holding]:
    """Data sets known from workers, by content, those that most live workers hold first."""
    rows = tx.execute(
        """
        SELECT d.name, d.digest, d.shape, d.classes, d.train, d.test, count(*) FILTER (
                   WHERE w.departed_at IS NULL AND w.last_seen_at > now() - make_interval(secs => :alive)
               ) AS held_by
        FROM worker_dataset d JOIN worker w ON w.id = d.worker_id
        WHERE CAST(:name AS text) IS NULL OR d.name = :name
        GROUP BY d.name, d.digest, d.shape, d.classes, d.train, d.test
        ORDER BY held_by DESC, max(w.last_seen_at) DESC, d.name, d.digest
        """,
        {"alive": alive_seconds, "name": name},
    )
    return [Holding(_dataset(row), row.held_by) for row in rows]


def views(tx: Transaction, alive_seconds: float) -> tuple[WorkerView, ...]:
    """All workers seen within a day, those seen last first."""
    return _views(tx, alive_seconds, "w.last_seen_at > now() - interval '1 day'")


def view(tx: Transaction, worker_id: UUID, alive_seconds: float) -> WorkerView:
    """One worker. Raises NotFound."""
    found = _views(tx, alive_seconds, "w.id = :id", id=worker_id)
    if not found:
        raise NotFound(f"there is no worker {worker_id}")
    return found[0]


def _views(tx: Transaction, alive_seconds: float, which: str, **parameters: object) -> tuple[WorkerView, ...]:
    rows = tx.execute(
        f"""
        SELECT w.*, w.departed_at IS NULL AND w.last_seen_at > now() - make_interval(secs => :alive) AS online,
               (SELECT count(*) FROM task WHERE worker_id = w.id AND state = 'leased') AS leases,
               ARRAY(SELECT name FROM worker_dataset WHERE worker_id = w.id ORDER BY name) AS datasets
        FROM worker w WHERE {which}
        ORDER BY online DESC, w.last_seen_at DESC, w.id
        """,
        {"alive": alive_seconds, **parameters},
    )
    return tuple(
        WorkerView(
            id=row.id,
            name=row.name,
            device=row.device,
            slots=row.slots,
            state=("draining" if row.draining_at else "online") if row.online else "offline",
            registered_at=row.registered_at,
            last_seen_at=row.last_seen_at,
            leases=row.leases,
            datasets=tuple(row.datasets),
            info=row.info,
        )
        for row in rows
    )


def _dataset(row: Any) -> Dataset:
    channels, height, width = row.shape
    return Dataset(row.name, row.digest, (channels, height, width), row.classes, row.train, row.test)
