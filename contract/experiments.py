"""What the server tells of experiments: plan, progress, searches, trials, report."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from contract.base import Lenient
from contract.submission import Learning, Point

ExperimentState = Literal["running", "paused", "cancelled", "finished", "failed"]
SearchState = Literal["waiting", "open", "decided", "dead", "infeasible", "cancelled"]
TrialState = Literal["running", "complete", "pruned", "failed", "cancelled"]


class PlannedSearch(Lenient):
    """A node of the prefix tree before anything runs."""

    name: str
    phase: int
    depth: int = Field(description="stages in its prefix")
    stage: str = Field(description="the layers it trains, in the paper's notation")
    parent: str | None
    used_by: list[str] = Field(description="variants standing on it, e.g. 'CNN 6 partial'")
    epochs: int
    trials: int
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    parameters: int = Field(description="weights and biases of the stage with its head")
    multiply_adds: int = Field(
        description="per image: forward, and twice that backward, of the trained layers and head"
    )
    reused: bool = Field(False, description="an identical search exists already")


class Plan(Lenient):
    """Dry run of a submission."""

    name: str
    variants: list[str]
    searches: list[PlannedSearch]
    stage_trainings_without_sharing: int
    trials: int
    fits: int
    evaluations: int
    multiply_adds: int = Field(description="of all trials and fits together")
    estimated_seconds: float | None = Field(
        description="from finished trainings of the data set, on the slots now connected; null where they tell nothing"
    )


class ExperimentSummary(Lenient):
    """A line of the list."""

    id: UUID
    name: str
    dataset: str
    state: ExperimentState
    created_at: datetime
    finished_at: datetime | None
    variants: int
    searches: int
    searches_decided: int
    trials: int = Field(description="budget over all searches")
    trials_finished: int


class ExperimentPage(Lenient):
    """A page of the list, newest first."""

    items: list[ExperimentSummary]
    next: str | None = Field(description="cursor of the next page")


class SearchView(Lenient):
    """A stage search and how far it is."""

    id: UUID
    name: str
    stage: str
    phase: int
    depth: int
    state: SearchState
    parent: UUID | None
    used_by: list[str]
    epochs: int
    trials: int
    finished: int
    running: int
    failed: int
    best_accuracy: float | None
    incumbent: Point | None
    reused: bool


class Experiment(ExperimentSummary):
    """An experiment with its searches."""

    submission: dict[str, object]
    stage_searches: list[SearchView]
    fits: int
    fits_finished: int
    evaluations: int
    evaluations_finished: int
    notes: list[str] = Field([], description="what keeps it from going on, and what to do about it")


class TrialView(Lenient):
    """A trial of a stage search."""

    id: UUID
    ordinal: int
    origin: str = Field(description="enqueued, incumbent, sobol, model, random")
    state: TrialState
    hyperparameters: Point
    validation_accuracy: float | None
    training_accuracy: float | None
    diverged: bool
    attempt: int
    worker: str | None
    training_seconds: float | None
    reports: list[tuple[float, float]] = Field(description="epoch, validation accuracy")
    failure: str | None


class StageLine(Lenient):
    """One stage of a variant in the report."""

    search: UUID
    stage: str
    hyperparameters: Point | None
    validation_accuracy: float | None
    training_seconds: float | None
    feature_seconds: float | None
    memory_bytes: int | None
    analytic_memory_bytes: int | None
    resident_bytes: int | None
    trials: int
    pruned: int
    diverged: int
    failed: int
    search_seconds: float = Field(description="summed over all attempts of its trials")
    reused: bool


class Interval(Lenient):
    """A mean over seeds; the bounds are a 95 % Student t interval, null with one seed."""

    mean: float
    low: float | None
    high: float | None
    values: list[float]


class VariantLine(Lenient):
    """One line of the Total versus Partial table."""

    phase: int
    epochs: int
    architecture: str
    learning: Learning
    state: Literal["waiting", "running", "complete", "dead", "cancelled"]
    stages: list[StageLine]
    training_seconds: float | None = Field(
        description="incumbents of all stages plus producing their inputs once, in full"
    )
    search_seconds: float
    shared_seconds: float = Field(description="search seconds of stages that other variants use as well")
    training_accuracy: Interval | None
    validation_accuracy: Interval | None
    test_accuracy: Interval | None
    memory_bytes: int | None = Field(description="maximum over the stages")
    analytic_memory_bytes: int | None
    resident_bytes: int | None
    memory_method: str | None


class Gap(Lenient):
    """Total minus Partial of one network, at equal epochs per stage."""

    phase: int
    partial: str
    total: str
    validation_points: float = Field(description="percentage points")
    test_points: float | None
    standard_error_points: float = Field(description="of the difference, from the number of images alone, one seed")


class Report(Lenient):
    """The report of an experiment, finished or not."""

    experiment: UUID
    name: str
    state: ExperimentState
    dataset: str
    train: int
    validation: int
    test: int
    preprocessing: str
    sampler: str
    seeds: list[int]
    devices: list[str]
    variants: list[VariantLine]
    gaps: list[Gap]
    searches: int
    stage_trainings_without_sharing: int
    reused_searches: int
    wall_seconds: float | None
    notes: list[str]


class WorkerView(Lenient):
    """A worker and what it holds."""

    id: UUID
    name: str
    device: str
    slots: int
    state: Literal["online", "draining", "offline"]
    registered_at: datetime
    last_seen_at: datetime
    leases: int
    datasets: list[str]
    info: dict[str, str]


class DatasetView(Lenient):
    """A data set that can be submitted against."""

    name: str
    digest: str | None
    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    held_by: int = Field(description="workers online that hold it")
    hint: str = Field(description="how to bring it to a worker")


class PresetView(Lenient):
    """A submission that ships with the service."""

    name: str
    summary: str
    text: str = Field(description="YAML to copy and edit")


class Event(Lenient):
    """A line of an experiment's history; ``id`` is the SSE event id."""

    id: int
    at: datetime
    kind: str
    data: dict[str, object]
