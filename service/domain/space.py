"""Points and spaces of hyperparameters, all axes logarithmic."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from service.domain.states import Sampler, TrialOrigin, TrialState

PARAMETERS = ("learning_rate", "regularization")
"""The axes that every space has. A scheme may add more, each named after one of them."""


@dataclass(frozen=True, slots=True)
class Point:
    """Hyperparameters of a stage; a regularization r is the weight decay r on weights.

    ``more`` are the axes that the scheme adds, by name and in the order of the space's.
    """

    learning_rate: float
    regularization: float
    more: tuple[tuple[str, float], ...] = ()

    @property
    def values(self) -> dict[str, float]:
        """All axes by name, in order."""
        return {"learning_rate": self.learning_rate, "regularization": self.regularization, **dict(self.more)}

    @staticmethod
    def of(values: Mapping[str, float]) -> "Point":
        """The point with these axes; the first two by name, the rest in their order."""
        more = tuple((name, value) for name, value in values.items() if name not in PARAMETERS)
        return Point(values["learning_rate"], values["regularization"], more)


@dataclass(frozen=True, slots=True)
class Interval:
    """Closed interval, low < high, searched on a log scale."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Space:
    """The search space of a stage."""

    learning_rate: Interval
    regularization: Interval
    more: tuple[tuple[str, Interval], ...] = ()

    @property
    def axes(self) -> dict[str, Interval]:
        """All axes by name, in order."""
        return {"learning_rate": self.learning_rate, "regularization": self.regularization, **dict(self.more)}

    def holds(self, point: Point) -> bool:
        """Whether the point has exactly these axes and lies inside on each."""
        values, axes = point.values, self.axes
        return values.keys() == axes.keys() and all(axes[name].holds(value) for name, value in values.items())


DEFAULT_FACTORS = (Interval(0.25, 4.0), Interval(0.1, 10.0))
DEFAULT_INITIAL = Point(1e-4, 1.0)
DEFAULT_SPACE = Space(Interval(1e-4, 0.2), Interval(1e-6, 0.1))
# Random exponential search is unbounded in the paper; a float needs some end, and this one is ten decades away.
EXPONENTIAL_SPACE = Space(Interval(1e-14, 1e6), Interval(1e-10, 1e10))


@dataclass(frozen=True, slots=True)
class PastTrial:
    """What a sampler may know of an earlier trial of the same search.

    ``value`` is the validation accuracy it enters the model with: its last one when pruned, chance when diverged,
    None while it runs or when it failed.
    """

    ordinal: int
    point: Point
    origin: TrialOrigin
    state: TrialState
    value: float | None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A point and where it comes from."""

    point: Point
    origin: TrialOrigin


@dataclass(frozen=True, slots=True)
class SearchBrief:
    """All that suggestions of one search depend on beside its past trials."""

    key: str
    sampler: Sampler
    space: Space
    trials: int
    start_points: tuple[Suggestion, ...]
    initial: Point


class Suggest(Protocol):
    """Draws the suggestion with an ordinal; the same inputs give the same point.

    One that learns from no result is drawn without any ``past``.
    """

    def __call__(self, brief: SearchBrief, past: tuple[PastTrial, ...], ordinal: int) -> Suggestion: ...
