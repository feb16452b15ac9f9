"""What is told of experiments, searches, trials, workers and data sets, in the fields of ``contract``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from service.domain import frozen_features
from service.domain.experiment import ExperimentSpec
from service.domain.layers import Shape
from service.domain.notation import write
from service.domain.plan import Plan, total
from service.domain.remaining import Existing
from service.domain.space import Point
from service.domain.states import PlannedState
from service.domain.workload import Workload


@dataclass(frozen=True, slots=True)
class PlannedSearchView:
    """A node of the prefix tree before anything runs; ``parent`` is a name as well, ``trials`` are those of all."""

    name: str
    phase: int
    depth: int
    stage: str
    parent: str | None
    used_by: tuple[str, ...]
    epochs: int
    trials: int
    input_shape: Shape
    output_shape: Shape
    parameters: int
    multiply_adds: int
    state: PlannedState
    least_trials: int


@dataclass(frozen=True, slots=True)
class PlanView:
    """Dry run of a submission: the work that is left to do; ``notes`` are sentences for people.

    Of the seconds second rounds are in ``most_seconds`` alone.
    """

    name: str
    variants: tuple[str, ...]
    searches: tuple[PlannedSearchView, ...]
    stage_trainings_without_sharing: int
    trials: int
    fits: int
    evaluations: int
    multiply_adds: int
    estimated_seconds: float | None
    least_trials: int
    range_tests: int
    confirmations: int
    most_seconds: float | None
    notes: tuple[str, ...]


def view_plan(
    spec: ExperimentSpec,
    plan: Plan,
    existing: Mapping[str, Existing],
    whole: Mapping[str, Workload],
    left: Mapping[str, Workload],
    estimated_seconds: float | None = None,
    most_seconds: float | None = None,
) -> PlanView:
    """The plan for people; of its searches by key, what is ``existing``, the ``whole`` work, and what is ``left``."""
    labels = [variant.label for variant in spec.variants]
    names = {search.key: search.name for search in plan.searches}
    totals = total(spec, plan.searches, left)
    return PlanView(
        name=spec.name,
        variants=tuple(labels),
        searches=tuple(
            PlannedSearchView(
                name=search.name,
                phase=search.phase,
                depth=search.depth,
                stage=write(search.stage.layers),
                parent=None if search.parent is None else names[search.parent],
                used_by=tuple(labels[index] for index in search.used_by),
                epochs=search.budget.epochs,
                trials=whole[search.key].trials,
                input_shape=search.stage.input_shape,
                output_shape=search.stage.output_shape,
                parameters=search.parameters,
                multiply_adds=search.multiply_adds,
                state=existing[search.key].planned_state if search.key in existing else PlannedState.NEW,
                least_trials=whole[search.key].least_trials,
            )
            for search in plan.searches
        ),
        stage_trainings_without_sharing=plan.stage_trainings_without_sharing,
        trials=totals.trials,
        fits=totals.fits,
        evaluations=totals.evaluations,
        multiply_adds=totals.multiply_adds,
        estimated_seconds=estimated_seconds,
        least_trials=totals.least_trials,
        range_tests=totals.range_tests,
        confirmations=totals.confirmations,
        most_seconds=most_seconds,
        notes=tuple(frozen_features.planned(spec, plan)),
    )


@dataclass(frozen=True, slots=True)
class ExperimentSummary:
    """A line of the list; ``trials`` is the budget over all searches."""

    id: UUID
    name: str
    dataset: str
    state: str
    created_at: datetime
    finished_at: datetime | None
    variants: int
    searches: int
    searches_decided: int
    trials: int
    trials_finished: int


@dataclass(frozen=True, slots=True)
class ExperimentPage:
    """A page of the list, newest first; ``next`` is the cursor of the next one."""

    items: tuple[ExperimentSummary, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class SearchView:
    """A stage search and how far it is."""

    id: UUID
    name: str
    stage: str
    phase: int
    depth: int
    state: str
    parent: UUID | None
    used_by: tuple[str, ...]
    epochs: int
    trials: int
    finished: int
    running: int
    failed: int
    best_accuracy: float | None
    incumbent: Point | None
    reused: bool
    shared_with: str | None


@dataclass(frozen=True, slots=True)
class ExperimentView(ExperimentSummary):
    """An experiment with its searches."""

    submission: Mapping[str, object]
    stage_searches: tuple[SearchView, ...]
    fits: int
    fits_finished: int
    evaluations: int
    evaluations_finished: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrialView:
    """A trial of a stage search; ``reports`` are (epoch, validation accuracy)."""

    id: UUID
    ordinal: int
    origin: str
    state: str
    hyperparameters: Point
    validation_accuracy: float | None
    training_accuracy: float | None
    diverged: bool
    attempt: int
    worker: str | None
    training_seconds: float | None
    reports: tuple[tuple[float, float], ...]
    failure: str | None


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that was lost or failed; ``retryable``: its task has failed and would get another chance."""

    task: UUID
    attempt: int
    kind: str
    label: str
    search: UUID
    worker: str
    reason: str
    message: str
    started_at: datetime
    ended_at: datetime
    seconds: float | None
    task_state: str
    retryable: bool
    log: str | None


@dataclass(frozen=True, slots=True)
class Failures:
    """The newest failed attempts, how many there are in all, and how many tasks would get another chance."""

    items: tuple[FailedAttempt, ...]
    total: int
    retryable: int


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker and what it holds."""

    id: UUID
    name: str
    device: str
    slots: int
    state: str
    registered_at: datetime
    last_seen_at: datetime
    leases: int
    datasets: tuple[str, ...]
    info: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DatasetView:
    """A data set that can be submitted against; without a digest nobody holds it yet."""

    name: str
    digest: str | None
    shape: Shape
    classes: int
    train: int
    test: int
    held_by: int
    hint: str


@dataclass(frozen=True, slots=True)
class PresetView:
    """A submission that ships with the service."""

    name: str
    summary: str
    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """A line of an experiment's history."""

    id: int
    at: datetime
    kind: str
    data: Mapping[str, object]
