"""The statistics of the report: means over seeds, and how much of a difference the number of images explains."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy.special import stdtrit

CONFIDENCE = 0.95
NORMAL_QUANTILE = 1.96


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds; the bounds are a 95 % Student t interval, None with one seed."""

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]


def interval(values: Sequence[float]) -> Interval | None:
    """The mean of the values with its Student t interval; None without any value."""
    if not values:
        return None
    mean = fmean(values)
    if len(values) == 1:
        return Interval(mean, None, None, tuple(values))
    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    half = quantile * stdev(values) / sqrt(len(values))
    return Interval(mean, mean - half, mean + half, tuple(values))


def difference_error(first: float, second: float, images: int) -> float:
    """Standard error of the difference of two accuracies, each measured once on ``images`` images.

    The two are taken as independent, although they saw the same images: it errs on the careful side.
    """
    return sqrt((first * (1 - first) + second * (1 - second)) / images)
