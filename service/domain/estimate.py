"""How long trainings will take, from those of the same data set that have finished."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf
from statistics import median

APART = 2.0
"""Two trainings tell work from overhead when one is at least so many times as large as the other."""
BEYOND = 10.0
"""Trainings of one size say nothing of those that are more than so many times as large."""


@dataclass(frozen=True, slots=True)
class TrainingCosts:
    """Seconds of a training: fixed ones (start, data, evaluation) and those per multiply-add, up to a ``largest``."""

    fixed: float
    per_multiply_add: float
    largest: float = inf

    def seconds(self, multiply_adds: float) -> float | None:
        """Of a training of so many multiply-adds; None where nothing known reaches."""
        return None if multiply_adds > self.largest else self.fixed + self.per_multiply_add * multiply_adds


def training_costs(finished: Sequence[tuple[float, float]]) -> TrainingCosts | None:
    """A straight line through (multiply-adds, seconds), None without any.

    Theil and Sen's: the slope is the median over pairs of unlike sizes, the fixed part the median of what is then left.
    A quotient of sums would take the overhead of tiny trainings for work, and least squares would follow the few that
    had to wait for their data. Trainings of much the same size do not tell the two apart: all of their time then counts
    as work, which errs on the long side for larger ones, and only up to ten times their size.
    """
    known = [(size, seconds) for size, seconds in finished if size > 0]
    if not known:
        return None
    slopes = [
        (high[1] - low[1]) / (high[0] - low[0])
        for low, high in combinations(sorted(known), 2)
        if high[0] >= APART * low[0]
    ]
    slope = median(slopes) if slopes else 0.0
    if slope <= 0:
        return TrainingCosts(0.0, median(seconds / size for size, seconds in known), BEYOND * max(known)[0])
    return TrainingCosts(max(0.0, median(seconds - slope * size for size, seconds in known)), slope)
