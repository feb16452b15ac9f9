"""The learning-rate range test: which rates it tries, and what their losses say about the space (Smith 2017)."""

from collections.abc import Sequence
from math import sqrt

from service.domain.schemes import FACTOR
from service.domain.space import PARAMETERS, Interval, Point, Space

RATES = 16
STEPS = 100
"""So many steps a worker takes at each rate, or as many as the training has."""
REACH = 1000.0
"""How far below the best rate the search still looks."""


def learning_rates(space: Space) -> tuple[float, ...]:
    """The rates that a range test tries: evenly spaced on the logarithmic axis, both ends exactly."""
    low, high = space.learning_rate.low, space.learning_rate.high
    between = (low * (high / low) ** (step / (RATES - 1)) for step in range(1, RATES - 1))
    return (low, *between, high)


def images(batch_size: int, train: int, epochs: int) -> int:
    """How many images a range test trains on, at most, when a training sees ``train`` of them in every epoch."""
    return RATES * min(STEPS * batch_size, train * epochs)


def middle(space: Space) -> Point:
    """The geometric middle of the space; the point is that of the whole stage, whatever the scheme."""
    rate, regularization = (sqrt(axis.low * axis.high) for axis in (space.learning_rate, space.regularization))
    return Point(rate, regularization)


def bounded(space: Space, rates: Sequence[float], losses: Sequence[float | None]) -> Space:
    """The space with every layer's learning rate bounded by what a range test found.

    ``losses`` belong to the ``rates``, None where the rate is too high: the training diverged, or collapsed to chance.
    The axis ends at the largest rate that is not, and starts no further than ``REACH`` below the one with the lowest
    loss. A test in which every rate is too high says nothing.
    """
    trained = [(loss, rate) for rate, loss in zip(rates, losses, strict=True) if loss is not None]
    if not trained:
        return space
    _, best = min(trained)
    # When the lowest rate alone is not too high, the axis still needs a length: the end lies somewhere below the next.
    largest = max(rates[1], *(rate for _, rate in trained))

    def bound(name: str, axis: Interval) -> Interval:
        if not name.startswith(PARAMETERS[0]) or name.endswith(FACTOR):
            return axis
        return Interval(max(axis.low, best / REACH), min(axis.high, largest))

    more = tuple((name, bound(name, axis)) for name, axis in space.more)
    return Space(bound(PARAMETERS[0], space.learning_rate), space.regularization, more)
