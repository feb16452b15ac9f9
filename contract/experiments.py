"""What the server tells of experiments: plan, progress, searches, trials, report."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from contract.base import Lenient
from contract.comparisons import Gap, Lead
from contract.conditions import ReportRecipe, ReportSearch
from contract.submission import BudgetRule, Learning, Point, Start
from contract.tasks import FailureReason, FeaturePlace, TaskKind

ExperimentState = Literal["running", "paused", "cancelled", "finished", "failed"]
SearchState = Literal["waiting", "open", "decided", "dead", "infeasible", "cancelled"]
TrialState = Literal["running", "complete", "pruned", "failed", "cancelled"]


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
    trials: int = Field(description="budget over all searches; of those that left no network, what they tried")
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
    reused: bool = Field(description="decided before the experiment was submitted")
    shared_with: str | None = Field(None, description="the experiment that it was under way in already, by name")


class Experiment(ExperimentSummary):
    """An experiment with its searches."""

    submission: dict[str, object]
    stage_searches: list[SearchView]
    fits: int = Field(description="planned, but for those of searches that left no network; so are evaluations")
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


class FailedAttempt(Lenient):
    """A lease of a task that ended without a result and by no one's wish."""

    task: UUID
    attempt: int
    kind: TaskKind
    label: str
    search: UUID
    worker: str
    reason: FailureReason
    message: str
    started_at: datetime
    ended_at: datetime
    seconds: float | None
    task_state: Literal["ready", "leased", "done", "failed", "cancelled"] = Field(description="of the task now")
    retryable: bool = Field(description="the task has failed, and a retry gives it another chance")
    log: str | None = Field(None, description="the last lines, at most 200, where they were asked for")


class Failures(Lenient):
    """What went wrong in an experiment, newest first."""

    items: list[FailedAttempt]
    total: int = Field(description="failed attempts in all")
    retryable: int = Field(description="failed tasks that a retry gives another chance")


class Retried(Lenient):
    """What a retry has set going."""

    tasks: int = Field(description="failed tasks that get another chance")
    searches: int = Field(description="dead searches that are open again")


class Interval(Lenient):
    """A mean over seeds; the bounds are a 95 % Student t interval within what can be, null with one seed."""

    mean: float
    low: float | None
    high: float | None
    values: list[float]


class CurvePoint(Lenient):
    """A measurement on the way through a training."""

    epoch: float
    validation_accuracy: float
    loss: float | None = None
    seconds: float | None = Field(None, description="of training by then, every epoch taken to last as long")


class BestSoFar(Lenient):
    """How far a search was after one of its trials, in the order in which they were suggested."""

    trial: int = Field(description="from 1 on")
    seconds: float = Field(description="spent on this trial and those before it, all attempts")
    validation_accuracy: float | None = Field(description="the highest by then; null while none is complete")


class StageLine(Lenient):
    """One stage of a variant in the report, as searched on its seed; accuracies but the last two are its own."""

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
    search_seconds: float = Field(description="of all attempts: trials, range test, confirmations with other seeds")
    reused: bool = Field(description="decided before the experiment was submitted")
    state: SearchState = "decided"
    epochs: int = Field(0, description="of each of its trainings")
    origin: str | None = Field(None, description="of the incumbent: enqueued, incumbent, sobol, model, random")
    stagnating: bool = Field(False, description="below the accuracy of its prefix, be it by chance")
    second_round: bool = Field(False, description="it got further trials in a wider space")
    activation_bytes: int | None = Field(None, description="the activations' share of the analytic figure")
    saved_seconds: float = Field(0.0, description="search seconds that an earlier experiment spent, when reused")
    curve: list[CurvePoint] = Field([], description="learning curve of the incumbent")
    best_so_far: list[BestSoFar] = []
    head_test_accuracy: Interval | None = Field(None, description="of the stage's own head on the test set")
    knn_test_accuracy: Interval | None = Field(None, description="of nearest neighbours on the stage's features")
    confirmed_accuracy: float | None = Field(None, description="validation, mean with the seeds that confirmed it")
    shared_with: str | None = Field(None, description="the experiment that it was under way in already, by name")
    stagnating_beyond_noise: bool = Field(False, description="below it by more than the noise of the number of images")
    features: dict[FeaturePlace, int] = Field(
        {},
        description="trainings on all seeds by where the frozen features they read were kept: memory, disk, or "
        "recomputed for every batch",
    )


class Published(Lenient):
    """What the paper's Table 2 or 3 says of a network; learning rates and regularizations are by stage."""

    table: int
    architecture: str
    epochs: int
    learning_rates: list[float]
    regularizations: list[float]
    seconds: float = Field(description="training time, on the author's machine")
    training_accuracy: float
    validation_accuracy: float


class VariantLine(Lenient):
    """One line of the Total versus Partial table."""

    phase: int
    epochs: int = Field(description="of each of its trainings, under its budget rule")
    architecture: str
    learning: Learning
    state: Literal["waiting", "running", "complete", "dead", "infeasible", "cancelled"]
    stages: list[StageLine]
    training_seconds: float | None = Field(
        description="of its seed: incumbents of all stages plus producing their inputs once, in full"
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
    label: str = Field("", description="architecture, learning and what sets it apart: CNN 6 total, equal passes")
    budget: BudgetRule = "epochs"
    checkpointing: bool = False
    normalize_cuts: bool = False
    trials: int = Field(0, description="in all, over stages and searched seeds")
    trials_per_stage: list[int] = Field([], description="over the searched seeds")
    allowed_seconds: float | None = Field(
        None,
        description="under the rule seconds: what it might spend of search seconds, confirmations apart; null under "
        "other rules, or not yet known",
    )
    fit_seconds: float = Field(0.0, description="training with the other seeds, all attempts; apart from the search")
    mean_training_seconds: Interval | None = Field(None, description="the same over the seeds: what reports show")
    activation_bytes: int | None = Field(None, description="maximum over the stages")
    published: Published | None = Field(None, description="the paper's line, where its protocol is followed")
    confirmation_seconds: float = Field(
        0.0, description="of the search seconds: training the best trials again with other seeds to choose between them"
    )
    diverged_seeds: list[int] = Field(
        [], description="on which a stage's fit, or every trial, diverged: chance in every accuracy, in no time"
    )
    failed_seeds: list[int] = Field([], description="without a network for another reason: in no accuracy and no time")
    seed: int | None = Field(
        None, description="whose stages, training seconds and memory these are: the first that has a network"
    )


class Trend(Lenient):
    """What the hyperparameters of partial variants do from stage to stage (paper, section 5.2).

    A step leads from a decided stage to the next; one that variants share is counted once. The p-values are those of
    a two-sided sign test, null without steps that change anything.
    """

    phase: int
    variants: int = Field(description="partial ones, all of whose stages are decided")
    steps: int
    learning_rate_rises: int = Field(description="steps")
    learning_rate_rises_throughout: int = Field(description="variants")
    learning_rate_p_value: float | None
    regularization_falls: int = Field(description="steps")
    regularization_falls_throughout: int = Field(description="variants")
    regularization_p_value: float | None
    sentence: str


class PhaseLine(Lenient):
    """The budget of a phase."""

    epochs: int
    trials: int
    start: Start


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
    devices: list[str] = Field(description="of trainings and tests, each with its precision")
    variants: list[VariantLine]
    gaps: list[Gap]
    searches: int
    stage_trainings_without_sharing: int
    reused_searches: int = Field(description="decided before the experiment was submitted")
    wall_seconds: float | None
    notes: list[str]
    phases: list[PhaseLine] = []
    baseline: str | None = Field(None, description="the variant that leads are measured against")
    leads: list[Lead] = []
    comparisons: int = Field(0, description="different ones among gaps and leads; one that repeats another counts once")
    trends: list[Trend] = []
    search_seconds: float = Field(0.0, description="of all its searches, reused ones included")
    fit_seconds: float = Field(0.0, description="of all its fits with other seeds, reused ones included")
    saved_seconds: float = Field(0.0, description="search and fit seconds that earlier experiments spent")
    reused_fits: int = 0
    decided_searches: int = 0
    enqueued_incumbents: int = Field(0, description="decided searches that a hand-picked point won")
    memory_limit: int | None = Field(None, description="bytes a training may take")
    shared_searches: int = Field(0, description="under way in another experiment already when this one was submitted")
    recipe: ReportRecipe | None = Field(None, description="of all trainings")
    search: ReportSearch | None = Field(None, description="of all stages")
    time_limit: float | None = Field(None, description="seconds a training may take")
    conditions: list[str] = Field([], description="recipe, limits and search in words, a line each")
    budgets: list[str] = Field([], description="epochs, trials and start of the phases in words, a line each")


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
