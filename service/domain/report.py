"""What a report says and what it is made from; Report and its parts have the fields of ``contract.experiments``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from service.domain.space import Point
from service.domain.states import ExperimentState, Learning, SearchState
from service.domain.statistics import Interval


@dataclass(frozen=True, slots=True)
class Training:
    """What one training brought: a search's incumbent, or a fit. Memory in bytes."""

    validation_accuracy: float
    training_accuracy: float
    training_seconds: float
    feature_seconds: float
    memory_bytes: int
    analytic_memory_bytes: int
    resident_bytes: int
    memory_method: str


@dataclass(frozen=True, slots=True)
class SearchFacts:
    """What is known of a search. ``fits`` and ``evaluations`` (test accuracies) are by seed.

    ``search_seconds`` sums all attempts of all its trials, failed ones included; ``trials`` counts those suggested.
    """

    id: UUID
    name: str
    stage: str
    state: SearchState
    reused: bool
    hyperparameters: Point | None = None
    incumbent: Training | None = None
    trials: int = 0
    pruned: int = 0
    diverged: int = 0
    failed: int = 0
    search_seconds: float = 0.0
    fits: Mapping[int, Training] = field(default_factory=dict)
    evaluations: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageLine:
    """One stage of a variant; accuracies, times and memory are the incumbent's."""

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

    @property
    def label(self) -> str:
        return f"{self.architecture} {self.learning}"


@dataclass(frozen=True, slots=True)
class Gap:
    """Total minus Partial of one network at equal epochs per stage, in percentage points."""

    phase: int
    partial: str
    total: str
    validation_points: float
    test_points: float | None
    standard_error_points: float


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
