"""What an experiment is once its submission has been understood."""

from dataclasses import dataclass

from service.domain.layers import Architecture, Shape
from service.domain.space import DEFAULT_FACTORS, Interval, Point, Space
from service.domain.states import BudgetRule, Learning, Objective, Pruner, Sampler, Schedule, Scheme


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set, by content."""

    name: str
    digest: str
    shape: Shape
    classes: int
    train: int
    test: int

    @property
    def chance(self) -> float:
        """Accuracy of guessing; what a diverged trial is told at."""
        return 1.0 / self.classes


@dataclass(frozen=True, slots=True)
class Split:
    """How many images train and validate, and how pixels are prepared. Seeds do not move the split."""

    train: int
    validation: int
    preprocessing: str


@dataclass(frozen=True, slots=True)
class Variant:
    """Architecture x learning: a line of the report. What follows ``learning`` concerns Total Learning alone."""

    architecture: str
    learning: Learning
    budget: BudgetRule = BudgetRule.EPOCHS
    checkpointing: bool = False
    normalize_cuts: bool = False

    @property
    def label(self) -> str:
        """`CNN 6 total, equal passes, checkpointed`."""
        more = [
            f"equal {self.budget}" if self.budget is not BudgetRule.EPOCHS else "",
            "normalised" if self.normalize_cuts else "",
            "checkpointed" if self.checkpointing else "",
        ]
        return ", ".join([f"{self.architecture} {self.learning}", *filter(None, more)])


@dataclass(frozen=True, slots=True)
class Phase:
    """A budget: epochs of every training and trials of every stage search.

    ``from_incumbents``: its searches try the incumbents of the phase before first; else what the first phase tried.
    """

    epochs: int
    trials: int
    from_incumbents: bool = True


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How every stage of the experiment is searched."""

    sampler: Sampler
    space: Space
    enqueue: tuple[Point, ...]
    initial: Point
    scheme: Scheme = Scheme.PER_STAGE
    pruner: Pruner = Pruner.NONE
    range_test: bool = False
    second_round: int = 0
    confirm_seeds: int = 0
    every_seed: bool = False
    learning_rate_factor: Interval = DEFAULT_FACTORS[0]
    regularization_factor: Interval = DEFAULT_FACTORS[1]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything about a training that is neither searched nor a budget."""

    batch_size: int
    optimizer: str
    momentum: float
    precision: str
    initialization: str
    head: str
    standardize_inputs: bool
    objective: Objective = Objective.CLASSIFICATION
    cached_features: bool = True
    # Submissions are cosine by default; what was stored before there was a choice had a constant rate.
    schedule: Schedule = Schedule.CONSTANT


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one training: bytes and seconds."""

    memory: int | None = None
    time: float | None = None


@dataclass(frozen=True, slots=True)
class ExperimentSpec:
    """A valid experiment; nothing in it can be refused any more."""

    name: str
    dataset: Dataset
    split: Split
    architectures: tuple[Architecture, ...]
    variants: tuple[Variant, ...]
    phases: tuple[Phase, ...]
    search: SearchSettings
    recipe: Recipe
    seeds: tuple[int, ...]
    limits: Limits
    priority: int
    reuse: bool
