"""What a scheme makes of the search space: which axes a stage has, and what a point of another stage is worth here."""

from collections.abc import Iterable

from service.domain.experiment import SearchSettings
from service.domain.layers import Conv, Stage
from service.domain.space import PARAMETERS, Interval, Point, Space
from service.domain.states import Scheme

FACTOR = "factor"
SECOND_ROUND_FACTOR = 10.0
"""A second round searches this much beyond both ends of every axis of the first."""


def stage_space(settings: SearchSettings, stage: Stage) -> Space:
    """The space in which a stage is searched: the submission's, with the axes that the scheme adds for its layers."""
    space = settings.space
    match settings.scheme:
        case Scheme.PER_STAGE:
            return space
        case Scheme.GEOMETRIC:
            factors = (settings.learning_rate_factor, settings.regularization_factor)
            more = [(f"{axis}_{FACTOR}", interval) for axis, interval in zip(PARAMETERS, factors, strict=True)]
        case Scheme.PER_LAYER:
            more = [
                (f"{axis}_{number}", getattr(space, axis))
                for number in range(1, convolutions(stage) + 1)
                for axis in PARAMETERS
            ]
    return Space(space.learning_rate, space.regularization, tuple(more))


def convolutions(stage: Stage) -> int:
    """How many layers of a stage have weights of their own; the head comes on top."""
    return sum(isinstance(layer, Conv) for layer in stage.layers)


def shown_space(settings: SearchSettings, stage: Stage) -> Space:
    """All that the search of a stage may come to search, a second round included; a range test only narrows.

    Optuna's tables show every trial in it: its samplers learn from trials that share one space.
    """
    space = stage_space(settings, stage)
    return widen(space) if settings.second_round else space


def fill(point: Point, axes: Iterable[str]) -> Point:
    """The point on these axes: those it lacks are what makes every layer the same as the base."""
    values = point.values
    return Point.of({name: values.get(name, _neutral(name, point)) for name in axes})


def widen(space: Space, factor: float = SECOND_ROUND_FACTOR) -> Space:
    """The space with both ends of the learning rate and the regularization, of every layer, moved out by a factor."""

    def wider(name: str, axis: Interval) -> Interval:
        return axis if name.endswith(FACTOR) else Interval(axis.low / factor, axis.high * factor)

    axes = {name: wider(name, axis) for name, axis in space.axes.items()}
    more = tuple((name, axis) for name, axis in axes.items() if name not in PARAMETERS)
    return Space(axes["learning_rate"], axes["regularization"], more)


def _neutral(name: str, point: Point) -> float:
    if name.endswith(FACTOR):
        return 1.0
    return point.learning_rate if name.startswith("learning_rate") else point.regularization
