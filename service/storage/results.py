"""Accepted results, at most one a task, and the measurements on the way to them."""

from base64 import b64decode
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.dialects.postgresql import insert as upsert

from service.domain.findings import Evaluation, Probe, Training
from service.domain.report import CurvePoint
from service.domain.states import FeaturePlace, TaskKind
from service.storage.engine import Transaction
from service.storage.tables import report, result

# Measurements that are kept of an attempt; a curve has no more, and whoever sends more would fill the database.
MOST = 100_000
# What the attempts ``a`` that have ended took. No sum of what stands there, whoever sent it, may overflow: that is an
# error. For an attempt that goes on, least() would take the bound.
SPENT = "coalesce(sum(least(a.seconds, 1e9)) FILTER (WHERE a.seconds IS NOT NULL), 0)"
# What search ``s`` has cost so far: all attempts at its range test and its trials that have ended.
SEARCH_SECONDS = f"""(SELECT {SPENT} FROM task t JOIN attempt a ON a.task_id = t.id
                     WHERE t.search_id = s.id AND t.kind IN ('trial', 'range-test'))"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """An intermediate validation accuracy; repeated steps overwrite."""

    step: int
    epoch: float
    value: float
    loss: float | None = None


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The accepted result of a trial or fit."""

    task_id: UUID
    kind: TaskKind
    search_id: UUID
    trial_id: UUID | None
    seed: int
    checkpoint: str | None
    training: Training


@dataclass(frozen=True, slots=True)
class LostFit:
    """A fit that left nothing to stand on: it diverged, or else failed."""

    search_id: UUID
    seed: int
    diverged: bool


@dataclass(frozen=True, slots=True)
class PlacedTrainings:
    """How many trainings of a search had their frozen features in one place: fits on a seed, or those that search."""

    search_id: UUID
    fitted: int | None
    place: FeaturePlace
    trainings: int


def digest_of(tx: Transaction, task: UUID) -> tuple[int, str] | None:
    """Attempt and digest of the accepted result."""
    row = tx.execute("SELECT attempt, digest FROM result WHERE task_id = :task", {"task": task}).one_or_none()
    return None if row is None else (row.attempt, row.digest)


def add(tx: Transaction, task: UUID, attempt: int, digest: str, payload: Mapping[str, Any]) -> None:
    """Store an accepted result, given in the form of ``contract.tasks.Outcome``."""
    memory = payload.get("memory", {})
    tx.execute(
        insert(result),
        {
            "task_id": task,
            "attempt": attempt,
            "digest": digest,
            "payload": payload,
            "outcome": payload["outcome"],
            "checkpoint": payload.get("checkpoint"),
            "validation_accuracy": payload.get("validation_accuracy"),
            "training_accuracy": payload.get("training_accuracy"),
            "test_accuracy": payload.get("test_accuracy"),
            "training_seconds": payload.get("training_seconds"),
            "feature_seconds": payload.get("feature_seconds"),
            "total_seconds": payload["total_seconds"],
            "memory_bytes": memory.get("peak_bytes"),
            "analytic_memory_bytes": memory.get("analytic_bytes"),
            "resident_bytes": memory.get("resident_bytes"),
            "memory_method": memory.get("method"),
        },
    )


def measure(tx: Transaction, task: UUID, attempt: int, measurements: Sequence[Measurement]) -> None:
    """Store intermediate measurements of an attempt, whose task is locked: of its first ``MOST`` steps to come."""
    if not measurements:
        return
    # A step may stand there twice; one statement must not touch a row twice.
    last = {item.step: item for item in measurements}
    of_it, named = "FROM report WHERE task_id = :task AND attempt = :attempt", {"task": task, "attempt": attempt}
    room = MOST - tx.execute(f"SELECT count(*) {of_it}", named).scalar_one()
    if room < len(last):
        known = tx.execute(f"SELECT step {of_it} AND step = ANY(:steps)", named | {"steps": list(last)})
        there = set(known.scalars())
        new = [step for step in last if step not in there][:room]
        last = {step: last[step] for step in [*there, *new]}
        if not last:
            return
    statement = upsert(report)
    tx.execute(
        statement.on_conflict_do_update(
            index_elements=["task_id", "attempt", "step"],
            set_={name: statement.excluded[name] for name in ("epoch", "value", "loss")},
        ),
        [
            {"task_id": task, "attempt": attempt, "step": m.step, "epoch": m.epoch, "value": m.value, "loss": m.loss}
            for m in last.values()
        ],
    )


def trainings(tx: Transaction, searches: Collection[UUID]) -> list[TrainingResult]:
    """Incumbents of some searches and fits on other seeds: what prefixes and reports are made of."""
    rows = tx.execute(
        """
        SELECT t.kind, t.search_id, t.trial_id, t.seed, r.task_id, r.checkpoint, r.validation_accuracy,
               r.training_accuracy, r.training_seconds, r.feature_seconds, r.memory_bytes, r.analytic_memory_bytes,
               r.resident_bytes, r.memory_method,
               CAST(coalesce(r.payload #>> '{memory,activation_bytes}', '0') AS bigint) AS activation_bytes
        FROM task t
        JOIN search s ON s.id = t.search_id
        JOIN result r ON r.task_id = t.id
        WHERE t.search_id = ANY(CAST(:searches AS uuid[]))
          AND (t.trial_id = s.incumbent_id
               OR (t.kind = 'fit' AND t.candidate_id IS NULL AND r.outcome = 'complete'))
        """,
        {"searches": list(searches)},
    )
    return [
        TrainingResult(
            task_id=row.task_id,
            kind=TaskKind(row.kind),
            search_id=row.search_id,
            trial_id=row.trial_id,
            seed=row.seed,
            checkpoint=row.checkpoint,
            training=Training(
                validation_accuracy=row.validation_accuracy,
                training_accuracy=row.training_accuracy,
                training_seconds=row.training_seconds,
                feature_seconds=row.feature_seconds,
                memory_bytes=row.memory_bytes,
                analytic_memory_bytes=row.analytic_memory_bytes,
                resident_bytes=row.resident_bytes,
                memory_method=row.memory_method,
                activation_bytes=row.activation_bytes,
            ),
        )
        for row in rows
    ]


def lost_fits(tx: Transaction, searches: Collection[UUID]) -> list[LostFit]:
    """The fits of some searches on other seeds that ended without a checkpoint, those that were cancelled apart."""
    rows = tx.execute(
        """
        SELECT t.search_id, t.seed, coalesce(r.outcome = 'diverged', false) AS diverged
        FROM task t LEFT JOIN result r ON r.task_id = t.id
        WHERE t.search_id = ANY(CAST(:searches AS uuid[])) AND t.kind = 'fit' AND t.candidate_id IS NULL
          AND (t.state = 'failed' OR r.outcome <> 'complete')
        """,
        {"searches": list(searches)},
    )
    return [LostFit(row.search_id, row.seed, row.diverged) for row in rows]


def feature_places(tx: Transaction, searches: Collection[UUID]) -> list[PlacedTrainings]:
    """Where accepted trainings of some searches had their frozen features; those that do not say are left out."""
    rows = tx.execute(
        """
        SELECT t.search_id, CASE WHEN t.kind = 'fit' AND t.candidate_id IS NULL THEN t.seed END AS fitted,
               r.payload ->> 'features' AS place, count(*) AS trainings
        FROM task t JOIN result r ON r.task_id = t.id
        WHERE t.search_id = ANY(CAST(:searches AS uuid[])) AND t.kind IN ('trial', 'fit')
          AND r.payload ->> 'features' IS NOT NULL
        GROUP BY 1, 2, 3
        """,
        {"searches": list(searches)},
    )
    return [PlacedTrainings(row.search_id, row.fitted, FeaturePlace(row.place), row.trainings) for row in rows]


def curves(tx: Transaction, searches: Collection[UUID]) -> dict[UUID, tuple[CurvePoint, ...]]:
    """The learning curves of incumbents, by search."""
    rows = tx.execute(
        """
        SELECT s.id, r.payload -> 'curve' AS curve FROM search s
        JOIN task t ON t.trial_id = s.incumbent_id JOIN result r ON r.task_id = t.id
        WHERE s.id = ANY(CAST(:searches AS uuid[]))
        """,
        {"searches": list(searches)},
    )
    return {
        row.id: tuple(CurvePoint(m["epoch"], m["validation_accuracy"], m.get("loss")) for m in row.curve or ())
        for row in rows
    }


def evaluations(tx: Transaction, searches: Collection[UUID]) -> dict[UUID, dict[int, Evaluation]]:
    """What tests of networks brought, by last search and seed."""
    rows = tx.execute(
        """
        SELECT t.search_id, t.seed, r.test_accuracy, coalesce(r.payload -> 'stages', '[]') AS stages,
               r.payload ->> 'right' AS right_images
        FROM task t JOIN result r ON r.task_id = t.id
        WHERE t.search_id = ANY(CAST(:searches AS uuid[])) AND t.kind = 'evaluate' AND t.state = 'done'
        """,
        {"searches": list(searches)},
    )
    found: dict[UUID, dict[int, Evaluation]] = defaultdict(dict)
    for row in rows:
        probes = tuple(Probe(stage["head_accuracy"], stage["knn_accuracy"]) for stage in row.stages)
        right = None if row.right_images is None else int.from_bytes(b64decode(row.right_images), "little")
        found[row.search_id][row.seed] = Evaluation(row.test_accuracy, probes, right)
    return found


def search_seconds(tx: Transaction, searches: Collection[UUID]) -> dict[UUID, float]:
    """What some searches have cost so far, failed attempts included."""
    rows = tx.execute(
        f"SELECT s.id, {SEARCH_SECONDS} AS seconds FROM search s WHERE s.id = ANY(CAST(:searches AS uuid[]))",
        {"searches": list(searches)},
    )
    return {row.id: float(row.seconds) for row in rows}


def devices(tx: Transaction, searches: Collection[UUID]) -> list[str]:
    """What the accepted results of some searches were computed on, as their workers call it, and in what precision."""
    return list(
        tx.execute(
            """
            SELECT DISTINCT concat_ws(', ', coalesce(r.payload #>> '{provenance,device}', w.device),
                                      r.payload #>> '{provenance,precision}')
            FROM task t JOIN result r ON r.task_id = t.id
            JOIN attempt a ON a.task_id = t.id AND a.n = r.attempt
            JOIN worker w ON w.id = a.worker_id
            WHERE t.search_id = ANY(CAST(:searches AS uuid[])) ORDER BY 1
            """,
            {"searches": list(searches)},
        ).scalars()
    )


def recent_trainings(tx: Transaction, dataset: str) -> list[tuple[float, float]]:
    """Multiply-adds and seconds of the last hundred complete trainings of a data set, given by its digest."""
    rows = tx.execute(
        """
        SELECT CAST(s.planned ->> 'multiply_adds' AS double precision)
                   * CAST(t.work ->> 'epochs' AS double precision)
                   * CAST(t.work #>> '{dataset,train}' AS double precision) AS multiply_adds,
               r.total_seconds
        FROM result r JOIN task t ON t.id = r.task_id JOIN search s ON s.id = t.search_id
        WHERE r.outcome = 'complete' AND t.dataset_digest = :dataset ORDER BY r.accepted_at DESC LIMIT 100
        """,
        {"dataset": dataset},
    )
    return [(row.multiply_adds, row.total_seconds) for row in rows]
