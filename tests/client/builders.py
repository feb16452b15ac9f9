"""Contract objects with every field filled."""

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid5

from contract.comparisons import Gap
from contract.experiments import (
    Experiment,
    ExperimentState,
    ExperimentSummary,
    Interval,
    Report,
    SearchState,
    SearchView,
    StageLine,
    VariantLine,
    WorkerView,
)
from contract.plans import Plan, PlannedSearch
from contract.submission import Point

NAMESPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
EXPERIMENT = UUID("0a1b2c3d-0000-4000-8000-000000000001")


def identifier(name: str) -> UUID:
    return uuid5(NAMESPACE, name)


def summary(id: UUID = EXPERIMENT, **changes: Any) -> ExperimentSummary:  # noqa: A002
    facts: dict[str, Any] = {
        "id": id, "name": "table-1", "dataset": "digits", "state": "running", "created_at": NOON, "finished_at": None,
        "variants": 2, "searches": 2, "searches_decided": 0, "trials": 22, "trials_finished": 3,
    }  # fmt: skip
    return ExperimentSummary(**(facts | changes))


def search(name: str, state: SearchState = "waiting", parent: str | None = None, **changes: Any) -> SearchView:
    facts: dict[str, Any] = {
        "id": identifier(name), "name": name, "stage": name, "phase": 0, "depth": 1 if parent else 0, "state": state,
        "parent": identifier(parent) if parent else None, "used_by": ["CNN 6 partial"], "epochs": 1, "trials": 11,
        "finished": 0, "running": 0, "failed": 0, "best_accuracy": None, "incumbent": None, "reused": False,
    }  # fmt: skip
    return SearchView(**(facts | changes))


def experiment(state: ExperimentState = "running", *searches: SearchView, **changes: Any) -> Experiment:
    listed = list(searches) or [search("Conv-3-32 Pool-2", "open"), search("Conv-3-64", parent="Conv-3-32 Pool-2")]
    facts: dict[str, Any] = summary().model_dump() | {
        "state": state, "submission": {"name": "table-1"}, "stage_searches": listed, "fits": 0, "fits_finished": 0,
        "evaluations": 2, "evaluations_finished": 0,
    }  # fmt: skip
    return Experiment(**(facts | changes))


def worker(**changes: Any) -> WorkerView:
    facts: dict[str, Any] = {
        "id": identifier("worker"), "name": "here-cpu", "device": "cpu", "slots": 1, "state": "online",
        "registered_at": NOON, "last_seen_at": NOON, "leases": 1, "datasets": ["digits"], "info": {},
    }  # fmt: skip
    return WorkerView(**(facts | changes))


def planned(name: str, parent: str | None = None, **changes: Any) -> PlannedSearch:
    facts: dict[str, Any] = {
        "name": name, "phase": 0, "depth": 1 if parent else 0, "stage": name, "parent": parent,
        "used_by": ["CNN 6 partial"], "epochs": 1, "trials": 11, "input_shape": (1, 8, 8), "output_shape": (32, 4, 4),
        "parameters": 12_345, "multiply_adds": 6_700_000, "state": "new",
    }  # fmt: skip
    return PlannedSearch(**(facts | changes))


def plan(**changes: Any) -> Plan:
    facts: dict[str, Any] = {
        "name": "table-1", "variants": ["CNN 1 total", "CNN 6 partial"],
        "searches": [planned("Conv-3-32 Pool-2"), planned("Conv-3-64", "Conv-3-32 Pool-2", state="taken-over")],
        "stage_trainings_without_sharing": 3, "trials": 22, "least_trials": 22, "fits": 0, "evaluations": 2,
        "multiply_adds": 1_234_000_000, "estimated_seconds": 83.0,
    }  # fmt: skip
    return Plan(**(facts | changes))


def stage(name: str, point: Point | None, **changes: Any) -> StageLine:
    facts: dict[str, Any] = {
        "search": identifier(name), "stage": name, "hyperparameters": point, "validation_accuracy": 0.9,
        "training_seconds": 1.5, "feature_seconds": 0.2, "memory_bytes": 3_000_000, "analytic_memory_bytes": 2_900_000,
        "resident_bytes": 500_000, "trials": 11, "pruned": 0, "diverged": 1, "failed": 0, "search_seconds": 20.0,
        "reused": False,
    }  # fmt: skip
    return StageLine(**(facts | changes))


def interval(mean: float, low: float | None = None, high: float | None = None) -> Interval:
    return Interval(mean=mean, low=low, high=high, values=[mean])


def variant(
    architecture: str, learning: Literal["total", "partial"], stages: list[StageLine], **changes: Any
) -> VariantLine:
    facts: dict[str, Any] = {
        "phase": 0, "epochs": 1, "architecture": architecture, "learning": learning, "state": "complete",
        "stages": stages, "training_seconds": 2.345, "search_seconds": 123.4, "shared_seconds": 60.0,
        "training_accuracy": interval(0.9876), "validation_accuracy": interval(0.95), "test_accuracy": interval(0.9345),
        "memory_bytes": 3_500_000, "analytic_memory_bytes": 3_400_000, "resident_bytes": 400_000,
        "memory_method": "live tensors of a profiled step",
    }  # fmt: skip
    return VariantLine(**(facts | changes))


def report(**changes: Any) -> Report:
    """A finished line, one with two stages and several seeds, and a dead one with a name that needs escaping."""
    first = stage("Conv-3-32 Pool-2", Point(learning_rate=0.0123, regularization=0.00034))
    second = stage("Conv-3-64 | x", Point(learning_rate=0.1, regularization=1e-6))
    dead = variant(
        "=A|B_50% {x}", "partial", [first, stage("Conv-3-64", None)],
        state="dead", training_seconds=None, training_accuracy=None, validation_accuracy=None, test_accuracy=None,
        memory_bytes=None, analytic_memory_bytes=None, resident_bytes=None, memory_method=None,
    )  # fmt: skip
    facts: dict[str, Any] = {
        "experiment": EXPERIMENT, "name": "table-1", "state": "finished", "dataset": "digits", "train": 1293,
        "validation": 144, "test": 360, "preprocessing": "standardize", "sampler": "auto", "seeds": [0, 1, 2],
        "devices": ["cpu (a machine)"],
        "variants": [
            variant("CNN 1", "total", [first]),
            variant("CNN 6", "partial", [first, second], test_accuracy=interval(0.9, 0.88, 0.92)),
            dead,
        ],
        "gaps": [
            Gap(phase=0, partial="CNN 6 partial", total="CNN 6 total", validation_points=-1.25, test_points=0.5,
                standard_error_points=1.9),
        ],
        "searches": 3, "stage_trainings_without_sharing": 5, "reused_searches": 1, "wall_seconds": 251.0,
        "notes": ["=A|B_50% {x} partial is dead: no trial of Conv-3-64 has finished"],
    }  # fmt: skip
    return Report(**(facts | changes))
