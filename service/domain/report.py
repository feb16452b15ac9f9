"""What a report says; Report and its parts have the fields of ``contract.experiments``."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from service.domain.experiment import Recipe, SearchSettings
from service.domain.published import PublishedLine
from service.domain.space import Point
from service.domain.states import BudgetRule, ExperimentState, FeaturePlace, Learning, SearchState, TrialOrigin
from service.domain.statistics import Difference, Interval, Ratio


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A measurement on the way through a training; ``seconds`` of training by then, if epochs last equally long."""

    epoch: float
    validation_accuracy: float
    loss: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class BestSoFar:
    """How far a search was after its ``trial``-th trial, counted from 1."""

    trial: int
    seconds: float
    validation_accuracy: float | None


@dataclass(frozen=True, slots=True)
class StageLine:
    """One stage of a variant, as searched on its ``seed``; accuracies, times and memory are the incumbent's."""

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
    search_seconds: float
    reused: bool
    state: SearchState
    epochs: int
    origin: TrialOrigin | None
    stagnating: bool
    second_round: bool
    activation_bytes: int | None
    saved_seconds: float
    curve: tuple[CurvePoint, ...]
    best_so_far: tuple[BestSoFar, ...]
    head_test_accuracy: Interval | None
    knn_test_accuracy: Interval | None
    confirmed_accuracy: float | None
    shared_with: str | None
    stagnating_beyond_noise: bool
    features: Mapping[FeaturePlace, int]


@dataclass(frozen=True, slots=True)
class VariantLine:
    """One line of the Total against Partial table."""

    phase: int
    epochs: int
    architecture: str
    learning: Learning
    state: str
    stages: tuple[StageLine, ...]
    training_seconds: float | None
    search_seconds: float
    shared_seconds: float
    training_accuracy: Interval | None
    validation_accuracy: Interval | None
    test_accuracy: Interval | None
    memory_bytes: int | None
    analytic_memory_bytes: int | None
    resident_bytes: int | None
    memory_method: str | None
    label: str
    budget: BudgetRule
    checkpointing: bool
    normalize_cuts: bool
    trials: int
    trials_per_stage: tuple[int, ...]
    allowed_seconds: float | None
    fit_seconds: float
    mean_training_seconds: Interval | None
    activation_bytes: int | None
    published: PublishedLine | None
    confirmation_seconds: float
    diverged_seeds: tuple[int, ...]
    failed_seeds: tuple[int, ...]
    seed: int | None


@dataclass(frozen=True, slots=True)
class Effort:
    """What was put into one side of a comparison.

    ``trials`` in all, over stages and searched seeds, of which ``second_round_trials`` came on top of the budget;
    ``passes`` over the training images that one training of all its stages makes.
    """

    trials: int
    second_round_trials: int
    passes: int


@dataclass(frozen=True, slots=True)
class Costs:
    """Training seconds and training memory of the first of two variants over those of the second.

    Memory is that of each one's first seed with a run; None where there is none, or the ways of measuring differ.
    """

    seconds: Ratio | None
    memory: float | None


@dataclass(frozen=True, slots=True)
class Gap:
    """Total minus Partial of one network under Total's budget rule, in percentage points."""

    phase: int
    partial: str
    total: str
    validation_points: float
    test_points: float | None
    standard_error_points: float
    budget: BudgetRule
    checkpointing: bool
    normalize_cuts: bool
    validation: Difference
    test: Difference | None
    adjusted_p_value: float
    verdict: str
    sentence: str
    total_effort: Effort
    partial_effort: Effort
    costs: Costs


@dataclass(frozen=True, slots=True)
class Lead:
    """A variant minus another that it is measured against, in percentage points."""

    phase: int
    variant: str
    against: str
    validation: Difference
    test: Difference | None
    adjusted_p_value: float
    verdict: str
    sentence: str
    variant_effort: Effort
    against_effort: Effort
    costs: Costs


@dataclass(frozen=True, slots=True)
class Trend:
    """What hyperparameters of partial variants do from stage to stage; p-values of two-sided sign tests over steps."""

    phase: int
    variants: int
    steps: int
    learning_rate_rises: int
    learning_rate_rises_throughout: int
    learning_rate_p_value: float | None
    regularization_falls: int
    regularization_falls_throughout: int
    regularization_p_value: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class PhaseLine:
    """The budget of a phase; ``start``: ``incumbents`` of the phase before, or what the ``initial`` one tried first."""

    epochs: int
    trials: int
    start: str


@dataclass(frozen=True, slots=True)
class Report:
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
    seeds: tuple[int, ...]
    devices: tuple[str, ...]
    variants: tuple[VariantLine, ...]
    gaps: tuple[Gap, ...]
    searches: int
    stage_trainings_without_sharing: int
    reused_searches: int
    wall_seconds: float | None
    notes: tuple[str, ...]
    phases: tuple[PhaseLine, ...]
    baseline: str | None
    leads: tuple[Lead, ...]
    comparisons: int
    trends: tuple[Trend, ...]
    search_seconds: float
    fit_seconds: float
    saved_seconds: float
    reused_fits: int
    decided_searches: int
    enqueued_incumbents: int
    memory_limit: int | None
    shared_searches: int
    recipe: Recipe
    search: SearchSettings
    time_limit: float | None
    conditions: tuple[str, ...]
    budgets: tuple[str, ...]
