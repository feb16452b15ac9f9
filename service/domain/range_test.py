"""The learning-rate range test: which rates it tries, and what their losses say about the space (Smith 2017)."""

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

from service.domain.layers import Stage
from service.domain.schemes import FACTOR, convolutions
from service.domain.space import PARAMETERS, Interval, Point, Space

RATES = 16
STEPS = 100
"""So many steps a worker is told to take at each rate; it takes no more than the training has."""
REACH = 1000.0
"""How far below the best rate the search still looks."""
LEAST = 2.0
"""The end of an axis over its start, at least."""


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


def bounded(space: Space, stage: Stage, rates: Sequence[float], losses: Sequence[float | None]) -> Space:
    """The stage's space with every layer's learning rate bounded by what a range test found.

    ``losses`` belong to the ``rates``, None where the rate is too high: the training diverged, or collapsed to chance.
    The axis ends at the largest rate that is not, and starts no further than ``REACH`` below the one with the lowest
    loss. A test in which every rate is too high says nothing.

    Under the scheme geometric the head has the base times a power of the factor. A factor above one is left the room
    between the best rate and the largest one, and the base ends so far below the largest that no layer exceeds it.
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
    narrow = Space(bound(PARAMETERS[0], space.learning_rate), space.regularization, more)
    return _with_factor(narrow, convolutions(stage), max(best, rates[1]))


def _with_factor(space: Space, power: int, best: float) -> Space:
    """The space with base and factor bounded together, for layers up to this ``power`` of the factor."""
    name, base = f"{PARAMETERS[0]}_{FACTOR}", space.learning_rate
    factor = space.axes.get(name)
    if factor is None or factor.high <= 1 or power == 0:
        return space
    room = max(1.0, (base.high / best) ** (1 / power))
    if room > factor.low:
        factor = replace(factor, high=min(factor.high, room))
        high = base.high / factor.high**power
    else:
        # Only factors are wanted for which there is no room: the base makes way, as far as an axis with a length can.
        high = max(base.high / factor.high**power, min(base.low * LEAST, base.high))
    more = tuple((key, factor if key == name else axis) for key, axis in space.more)
    return Space(replace(base, high=high), space.regularization, more)
