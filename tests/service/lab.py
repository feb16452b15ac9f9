"""A service without HTTP and a worker without torch: the use cases on a real database, driven by hand."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

from contract.submission import Submission
from service.domain.experiment import Dataset, ExperimentSpec
from service.domain.projection import ProjectedStudy
from service.domain.space import PastTrial, Point, SearchBrief, Suggestion
from service.domain.states import ExperimentState, TaskKind, TrialOrigin
from service.domain.submission import build_spec
from service.storage import Storage, artifacts, experiments
from service.storage.tasks import LeasedTask
from service.usecases.advance_experiment import advance_experiment
from service.usecases.lease_task import lease_task
from service.usecases.project_studies import project_studies
from service.usecases.record_result import ResultAccepted, record_result
from service.usecases.register_worker import register_worker
from service.usecases.submit_experiment import submit_experiment
from service.usecases.suggest_trials import suggest_trials

LEASE = 45.0
HEARTBEAT = 10.0
STRIKES = 3
DIGITS = Dataset("digits", "d" * 64, (1, 8, 8), 10, 1437, 360)
ONE_STAGE = {"A": ["Conv-3-4 Pool-2"]}
# B's first stage is A, and A total is B's root: with C, which cuts the same layers elsewhere, a small tree.
TREE = {"A": ["Conv-3-4 Pool-2"], "B": ["Conv-3-4 Pool-2", "Conv-3-4"]}


def suggest(brief: SearchBrief, past: tuple[PastTrial, ...], ordinal: int) -> Suggestion:  # noqa: ARG001
    """A draw that depends on the search and the ordinal alone."""
    if ordinal < len(brief.start_points):
        return brief.start_points[ordinal]
    share = int.from_bytes(hashlib.sha256(f"{brief.key} {ordinal}".encode()).digest()[:4]) / 2**32
    drawn = {name: axis.low * (axis.high / axis.low) ** share for name, axis in brief.space.axes.items()}
    return Suggestion(Point.of(drawn), TrialOrigin.MODEL)


def blind(brief: SearchBrief) -> int:
    """Nothing here learns from results."""
    return brief.trials


def never(*_: object, **__: object) -> bool:
    """Prunes nothing."""
    return False


def accuracy_of(lease: LeasedTask) -> float:
    """Different for every point, stage and seed, and never the same as chance."""
    seed = hashlib.sha256(repr((lease.work.hyperparameters, lease.work.stage, lease.work.seed)).encode()).digest()
    return 0.2 + 0.7 * int.from_bytes(seed[:4]) / 2**32


class Lab:
    """Hands on the use cases."""

    def __init__(self, store: Storage) -> None:
        self.store = store
        self.shown: list[ProjectedStudy] = []

    def document(self, architectures: dict[str, list[str]] | None = None, **more: Any) -> dict[str, Any]:
        return {
            "name": "experiment",
            "dataset": {"name": "digits"},
            "architectures": architectures or ONE_STAGE,
            "phases": [{"epochs": 1, "trials": 3}],
            **more,
        }

    def spec(self, document: dict[str, Any]) -> ExperimentSpec:
        return build_spec(Submission.model_validate(document).model_dump(), DIGITS)

    def submit(self, architectures: dict[str, list[str]] | None = None, *, key: str | None = None, **more: Any) -> UUID:
        document = self.document(architectures, **more)
        return submit_experiment(self.store, document, self.spec(document), key)

    def worker(self, slots: int = 1, dataset: Dataset = DIGITS) -> UUID:
        worker = uuid4()
        register_worker(
            self.store, worker, name="bench", device="cpu", slots=slots, info={"host": "here"}, datasets=[dataset]
        )
        return worker

    def plan(self) -> None:
        with self.store.reading() as tx:
            running = experiments.running(tx)
        for experiment in running:
            advance_experiment(self.store, experiment)
        suggest_trials(self.store, suggest, blind, LEASE)

    def project(self) -> int:
        def show(_: str, read: Callable[[], ProjectedStudy]) -> ProjectedStudy:
            self.shown.append(read())
            return self.shown[-1]

        return project_studies(self.store, show)

    def lease(self, worker: UUID, request: UUID | None = None) -> LeasedTask | None:
        return lease_task(self.store, worker, request or uuid4(), LEASE)

    def take(self, worker: UUID) -> LeasedTask:
        lease = self.lease(worker)
        assert lease is not None
        return lease

    def outcome(self, lease: LeasedTask, accuracy: float | None = None, outcome: str = "complete") -> dict[str, Any]:
        if lease.kind is TaskKind.EVALUATE:
            return {"outcome": "evaluated", "test_accuracy": 0.5, "images": 360, "total_seconds": 1.0}
        if lease.kind is TaskKind.RANGE_TEST:
            losses = [2.0 - number / 10 for number, _ in enumerate(lease.work.learning_rates)]
            return {"outcome": "ranged", "losses": losses, "total_seconds": 4.0}
        reached = accuracy_of(lease) if accuracy is None else accuracy
        checkpoint = hashlib.sha256(f"{lease.task} {lease.attempt}".encode()).hexdigest()
        if outcome == "complete":
            with self.store.transaction() as tx:
                artifacts.add(tx, checkpoint, 100, artifacts.announce(tx, checkpoint))
        if lease.kind is TaskKind.EMBED:
            stage = {"dimensions": 64, "components": 50, "seconds": 1.0}
            embedded = {"outcome": "embedded", "checkpoint": checkpoint, "points": 100, "perplexity": 30.0}
            return {**embedded, "stages": [stage], "total_seconds": 5.0}
        return {
            "outcome": outcome,
            "validation_accuracy": reached,
            "training_accuracy": reached,
            "checkpoint": checkpoint if outcome == "complete" else None,
            "epochs": 1.0,
            "training_seconds": 2.0,
            "feature_seconds": 0.5,
            "evaluation_seconds": 0.25,
            "total_seconds": 3.0,
            "memory": {"peak_bytes": 1000, "method": "counted", "analytic_bytes": 900, "resident_bytes": 50},
            "curve": [{"step": 10, "epoch": 1.0, "validation_accuracy": reached, "loss": None}],
            "provenance": {"device": "cpu"},
        }

    def finish(self, lease: LeasedTask, accuracy: float | None = None, outcome: str = "complete") -> ResultAccepted:
        return record_result(self.store, lease.task, lease.attempt, self.outcome(lease, accuracy, outcome))

    def drive(
        self,
        experiment: UUID,
        worker: UUID,
        each: Callable[[LeasedTask], object] | None = None,
        rounds: int = 500,
    ) -> list[LeasedTask]:
        """Work until the experiment has ended; ``each`` does a task instead of finishing it."""
        done: list[LeasedTask] = []
        for _ in range(rounds):
            self.plan()
            if self.state(experiment) is not ExperimentState.RUNNING:
                return done
            lease = self.lease(worker)
            if lease is not None:
                done.append(lease)
                (each or self.finish)(lease)
        raise AssertionError(f"still running after {rounds} rounds: {self.rows('SELECT state, spec FROM search')}")

    def state(self, experiment: UUID) -> ExperimentState:
        with self.store.reading() as tx:
            return experiments.get(tx, experiment).state

    def expire(self, lease: LeasedTask) -> None:
        """Let a lease run out without waiting for it."""
        self.run("UPDATE task SET lease_expires_at = now() - interval '1 second' WHERE id = :id", id=lease.task)

    def rows(self, sql: str, **parameters: object) -> list[Any]:
        with self.store.reading() as tx:
            return list(tx.execute(sql, parameters))

    def value(self, sql: str, **parameters: object) -> Any:
        (row,) = self.rows(sql, **parameters)
        return row[0]

    def run(self, sql: str, **parameters: object) -> None:
        with self.store.transaction() as tx:
            tx.execute(sql, parameters)


def point_of(lease: LeasedTask) -> dict[str, float]:
    """The hyperparameters of a leased training."""
    assert lease.work.hyperparameters is not None
    return asdict(lease.work.hyperparameters)
