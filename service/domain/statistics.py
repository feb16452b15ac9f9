"""The statistics of the report: means over seeds, and how much of a difference chance explains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, hypot, log, sqrt
from statistics import fmean, stdev

from scipy import optimize, special, stats

CONFIDENCE = 0.95
SIGNIFICANCE = 1 - CONFIDENCE
NOISE_ERRORS = 1.96
"""What noise means everywhere: up to so many standard errors, which chance stays within 95 times of 100."""
NO_SPREAD = 1e-9
"""Differences in points that differ by less are the same, told apart by rounding."""
CERTAIN = 1e-12
"""No p-value of ``crossed_difference`` is less: quantiles further out are none that anybody should rely on."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds; the bounds are a 95 % Student t interval, None with one seed."""

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One variant minus another in percentage points, none beyond 100 either way; ``values`` are by seed.

    ``method`` says what the bounds rest on. Where it is known which images were classified rightly they are those of
    95 %: ``crossed`` over seeds and images, both paired, or ``crossed-images`` over the images alone, with one seed.
    Otherwise they are those of at least 95 %, the wider one of two intervals: ``paired`` is Student t of the
    differences over the seeds, ``images`` takes the standard error from the number of images, and is all there is with
    one seed.
    """

    points: float
    low: float
    high: float
    standard_error: float
    p_value: float
    seeds: int
    method: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """One variant over another; ``values`` are by seed, ``ratio`` is their geometric mean.

    The bounds are those of 95 %, Student t of the logarithms over the seeds; None with one seed.
    """

    ratio: float
    low: float | None
    high: float | None
    values: tuple[float, ...]


def interval(values: Sequence[float]) -> Interval | None:
    """The mean of values that are never negative with its Student t interval, cut off at 0; None without any value."""
    if not values:
        return None
    mean = fmean(values)
    if len(values) == 1:
        return Interval(mean, None, None, tuple(values))
    half = _student_quantile(len(values)) * stdev(values) / sqrt(len(values))
    return Interval(mean, max(mean - half, 0.0), mean + half, tuple(values))


def accuracy_interval(accuracies: Sequence[float]) -> Interval | None:
    """``interval`` of accuracies, cut off at 1 as well."""
    found = interval(accuracies)
    if found is None or found.high is None:
        return found
    return replace(found, high=min(found.high, 1.0))


def difference(first: Mapping[int, float], second: Mapping[int, float], images: int) -> Difference | None:
    """First minus second, accuracies by seed on ``images`` images, over the seeds that both have; None without any.

    All seeds are tested on the same images, so that more seeds never tell more than these: the interval is Student's
    over the seeds or that of the number of images, whichever is wider, and the p-value the larger one. ``method``
    says which of the two is wider; with one seed only the images tell anything.
    """
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    values = tuple(100 * (first[seed] - second[seed]) for seed in seeds)
    points = fmean(values)
    one, other = (fmean(accuracies[seed] for seed in seeds) for accuracies in (first, second))
    error = 100 * difference_error(one, other, images)
    half, method = NOISE_ERRORS * error, "images"
    p_value = float(2 * stats.norm.sf(abs(points) / error)) if error else float(points == 0)
    if max(values) - min(values) > NO_SPREAD:
        p_value = max(p_value, float(stats.ttest_1samp(values, 0.0).pvalue))
        paired = stdev(values) / sqrt(len(values))
        if _student_quantile(len(values)) * paired >= half:
            error, half, method = paired, _student_quantile(len(values)) * paired, "paired"
    return Difference(points, *_bounds(points, half), error, p_value, len(seeds), method, values)


def crossed_difference(first: Mapping[int, int], second: Mapping[int, int], images: int) -> Difference | None:
    """First minus second, by seed a bit for each image that was classified rightly, over the seeds that both have.

    Every seed is tested on the same images, so that the differences d of seed j on image i are a table with two crossed
    random effects, d = mean + seed + image + rest, and their mean has two independent errors (mean squares as in
    Searle, Casella and McCulloch 1992, Variance Components, chapter 4):

    - of the n seeds, with the rest: MS(seed) / (n images), with n - 1 degrees of freedom;
    - of the images: (MS(image) - MS(rest)) / (n images), with nearly as many as there are images.

    The interval is that of Howe (1974, JASA 69, 789-794) for a sum of two such errors: the squares of their halves,
    Student's and the normal one, are added. Simulated, it holds the truth 95 to 99 times of 100, where degrees of
    freedom after Satterthwaite do so 88 times with two seeds and 93 with three, if these differ much. It is never
    narrower than that of the images for just these seeds, MS(image) / (n images), which is all there is with one seed:
    two seeds may agree by chance. The p-value is the level at which 0 is a bound.

    To the images come two, one won by each side on all seeds, as Bonett and Price (2012, JEBS 37, 479-488) have it:
    a handful of images on which the two differ would prove too much else. The difference itself is as measured.
    """
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    n, count = len(seeds), images + 2
    pairs = [(first[seed], second[seed]) for seed in seeds]
    products = [[_product(one, other) + 2 for other in pairs] for one in pairs]
    sums = [one.bit_count() - other.bit_count() for one, other in pairs]
    # Sums of squares, then mean squares.
    mean = sum(sums) ** 2 / (n * count)
    of_seeds = sum(value**2 for value in sums) / count - mean
    of_images = sum(map(sum, products)) / n - mean
    of_rest = sum(products[j][j] for j in range(n)) - mean - of_seeds - of_images
    by_images = of_images / (count - 1)
    by_seeds = of_seeds / (n - 1) if n > 1 else 0.0
    beyond_rest = by_images - of_rest / ((n - 1) * (count - 1)) if n > 1 else by_images
    seeds_error, own_error, images_error = (
        100 * sqrt(max(square, 0.0) / (n * count)) for square in (by_seeds, beyond_rest, by_images)
    )

    def half(level: float) -> float:
        normal = -float(special.ndtri(level / 2))
        student = -float(special.stdtrit(n - 1, level / 2)) if n > 1 else 0.0
        return max(hypot(student * seeds_error, normal * own_error), normal * images_error)

    values = tuple(100 * value / images for value in sums)
    points = fmean(values)
    low, high = _bounds(points, half(SIGNIFICANCE))
    return Difference(
        points=points,
        low=low,
        high=high,
        standard_error=max(hypot(seeds_error, own_error), images_error),
        p_value=_level(half, abs(points)),
        seeds=n,
        method="crossed" if n > 1 else "crossed-images",
        values=values,
    )


def ratio(first: Mapping[int, float], second: Mapping[int, float]) -> Ratio | None:
    """First over second, amounts by seed, over the seeds on which both are more than nothing; None without any."""
    values = tuple(first[seed] / second[seed] for seed in first if first[seed] > 0 and second.get(seed, 0) > 0)
    if not values:
        return None
    logarithms = [log(value) for value in values]
    middle = fmean(logarithms)
    if len(values) == 1:
        return Ratio(exp(middle), None, None, values)
    half = _student_quantile(len(values)) * stdev(logarithms) / sqrt(len(values))
    return Ratio(exp(middle), exp(middle - half), exp(middle + half), values)


def difference_error(first: float, second: float, images: int) -> float:
    """Standard error of the difference of two accuracies, each measured once on ``images`` images.

    The two are taken as independent, although they saw the same images: it errs on the careful side.
    """
    return sqrt((first * (1 - first) + second * (1 - second)) / images)


def noise(first: float, second: float, images: int) -> float:
    """How far apart two accuracies, each measured once on ``images`` images, may be by chance."""
    return NOISE_ERRORS * difference_error(first, second, images)


def falls_short(accuracy: float, prefix: float, images: int) -> bool:
    """Whether a stage is below the accuracy of its prefix by more than the noise of that many validation images."""
    return prefix - accuracy > noise(prefix, accuracy, images)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """The p-values adjusted for their number (Holm 1979), in the order given."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


def sign_test(ups: int, downs: int) -> float | None:
    """Two-sided p-value of so many changes in one direction and the other, were both as likely; None without any."""
    return float(stats.binomtest(ups, ups + downs).pvalue) if ups + downs else None


def _student_quantile(values: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, values - 1))


def _bounds(points: float, half: float) -> tuple[float, float]:
    """Of a difference of accuracies: cut off at 100 points either way, where one of the two is 0 and the other 1."""
    return max(points - half, -100.0), min(points + half, 100.0)


def _product(one: tuple[int, int], other: tuple[int, int]) -> int:
    """Of the differences of two seeds, each first and second, summed over the images."""
    (a, b), (c, d) = one, other
    return (a & c).bit_count() - (a & d).bit_count() - (b & c).bit_count() + (b & d).bit_count()


def _level(half: Callable[[float], float], width: float) -> float:
    """The level at which half an interval is so wide; ``half`` is 0 at level 1."""
    if width <= NO_SPREAD:
        return 1.0
    if half(CERTAIN) <= width:
        return CERTAIN
    return exp(optimize.brentq(lambda exponent: half(exp(exponent)) - width, log(CERTAIN), 0.0))
