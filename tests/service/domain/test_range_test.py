"""Which learning rates a range test tries, and how it bounds the space."""

from itertools import pairwise

import pytest

from service.domain.layers import Conv, Pool, Stage
from service.domain.range_test import RATES, STEPS, bounded, images, learning_rates, middle
from service.domain.space import DEFAULT_SPACE, Interval, Point, Space

SPACE = Space(Interval(1e-5, 10.0), Interval(1e-6, 1e-2))
RATES_OF = learning_rates(SPACE)
STAGE = Stage((Conv(3, 4), Conv(3, 4), Pool(2)), (1, 8, 8), (4, 4, 4))


def losses(*, diverges_from: int, best: int) -> list[float | None]:
    """Lowest at one rate, and none from a rate on."""
    return [None if number >= diverges_from else 1.0 + abs(number - best) for number in range(RATES)]


def test_its_size_is_what_workers_are_told() -> None:
    assert images(50, 49_000, 1) == RATES * STEPS * 50
    # A training of fewer steps is not made longer.
    assert images(50, 1_000, 2) == RATES * 2_000


def test_rates_are_evenly_spaced_from_end_to_end() -> None:
    assert (RATES_OF[0], RATES_OF[-1], len(RATES_OF)) == (1e-5, 10.0, RATES)
    steps = [after / before for before, after in pairwise(RATES_OF)]
    assert steps == pytest.approx([steps[0]] * (RATES - 1))
    assert middle(SPACE).regularization == pytest.approx(1e-4)


def test_the_axis_ends_at_the_largest_rate_that_did_not_diverge() -> None:
    space = bounded(SPACE, STAGE, RATES_OF, losses(diverges_from=12, best=5))
    assert space.learning_rate == Interval(1e-5, RATES_OF[11])
    assert space.regularization == SPACE.regularization


def test_the_axis_starts_at_most_three_decades_below_the_best_rate() -> None:
    space = bounded(SPACE, STAGE, RATES_OF, losses(diverges_from=RATES, best=14))
    assert space.learning_rate == Interval(RATES_OF[14] / 1000, 10.0)


def test_a_test_that_diverged_everywhere_says_nothing() -> None:
    assert bounded(SPACE, STAGE, RATES_OF, [None] * RATES) == SPACE


def test_the_axis_keeps_a_length_when_only_the_lowest_rate_trains() -> None:
    assert bounded(SPACE, STAGE, RATES_OF, losses(diverges_from=1, best=0)).learning_rate == Interval(1e-5, RATES_OF[1])


def test_the_rate_of_every_layer_is_bounded_as_that_of_the_head_is() -> None:
    rate, regularization = DEFAULT_SPACE.learning_rate, DEFAULT_SPACE.regularization
    space = Space(rate, regularization, (("learning_rate_1", rate), ("regularization_1", regularization)))
    rates = learning_rates(space)

    narrow = bounded(space, STAGE, rates, losses(diverges_from=8, best=2)).axes

    assert narrow["learning_rate_1"] == narrow["learning_rate"] == Interval(rate.low, rates[7])
    assert narrow["regularization_1"] == regularization
    assert middle(space) == Point(middle(space).learning_rate, middle(space).regularization)


def geometric(low: float, high: float, *, diverges_from: int = 12, best: int = 9) -> tuple[Interval, Interval]:
    """The base and the factor that a range test leaves."""
    factors = (("learning_rate_factor", Interval(low, high)), ("regularization_factor", Interval(0.1, 10.0)))
    space = Space(SPACE.learning_rate, SPACE.regularization, factors)
    axes = bounded(space, STAGE, RATES_OF, losses(diverges_from=diverges_from, best=best)).axes
    assert axes["regularization_factor"] == Interval(0.1, 10.0)
    return axes["learning_rate"], axes["learning_rate_factor"]


@pytest.mark.parametrize(
    ("low", "high", "best"),
    [(0.25, 4.0, 9), (0.25, 1.5, 9), (0.25, 4.0, 11), (0.25, 4.0, 0), (1.5, 4.0, 9), (3.0, 4.0, 11)],
)
def test_no_factor_carries_a_layer_beyond_the_bound(low: float, high: float, best: int) -> None:
    base, factor = geometric(low, high, best=best)
    # Two convolutions, then the head with the factor's square.
    assert base.high * factor.high**2 <= RATES_OF[11] * (1 + 1e-9)
    assert SPACE.learning_rate.low <= base.low < base.high
    assert low == factor.low < factor.high <= high


def test_a_factor_gets_the_room_between_the_best_rate_and_the_largest() -> None:
    base, factor = geometric(0.25, 100.0)
    assert base.high == pytest.approx(RATES_OF[9])
    assert factor.high == pytest.approx((RATES_OF[11] / RATES_OF[9]) ** 0.5)
    # With no room left the same rate for every layer, or falling ones, may still be as high as the best.
    base, factor = geometric(0.25, 4.0, best=11)
    assert (base.high, factor.high) == (RATES_OF[11], 1.0)


def test_a_factor_that_makes_rates_fall_needs_no_bound() -> None:
    base, factor = geometric(0.25, 1.0)
    assert (base.high, factor) == (RATES_OF[11], Interval(0.25, 1.0))


def test_factors_for_which_there_is_no_room_at_all_leave_the_base_a_length() -> None:
    base, factor = geometric(10.0, 100.0, diverges_from=2, best=0)
    assert base == Interval(1e-5, 2e-5)
    assert factor == Interval(10.0, 100.0)
