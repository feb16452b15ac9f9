"""What an experiment is once its submission has been understood."""

from dataclasses import dataclass

from service.domain.layers import Architecture, Shape
from service.domain.space import Point, Space
from service.domain.states import Learning, Sampler


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
    """Architecture x learning: a line of the report."""

    architecture: str
    learning: Learning

    @property
    def label(self) -> str:
        return f"{self.architecture} {self.learning}"


@dataclass(frozen=True, slots=True)
class Phase:
    """A budget: epochs of every training and trials of every stage search."""

    epochs: int
    trials: int


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How every stage of the experiment is searched."""

    sampler: Sampler
    space: Space
    enqueue: tuple[Point, ...]
    initial: Point


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
