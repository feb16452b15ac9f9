"""Which learning rates a range test tries, and how it bounds the space."""

from itertools import pairwise

import pytest

from service.domain.range_test import RATES, STEPS, bounded, images, learning_rates, middle
from service.domain.space import DEFAULT_SPACE, Interval, Point, Space
from worker import range_test

SPACE = Space(Interval(1e-5, 10.0), Interval(1e-6, 1e-2))
RATES_OF = learning_rates(SPACE)


def losses(*, diverges_from: int, best: int) -> list[float | None]:
    """Lowest at one rate, and none from a rate on."""
    return [None if number >= diverges_from else 1.0 + abs(number - best) for number in range(RATES)]


def test_its_size_is_what_workers_make_of_it() -> None:
    assert range_test.STEPS == STEPS
    assert images(50, 49_000, 1) == RATES * STEPS * 50
    # A training of fewer steps is not made longer.
    assert images(50, 1_000, 2) == RATES * 2_000


def test_rates_are_evenly_spaced_from_end_to_end() -> None:
    assert (RATES_OF[0], RATES_OF[-1], len(RATES_OF)) == (1e-5, 10.0, RATES)
    steps = [after / before for before, after in pairwise(RATES_OF)]
    assert steps == pytest.approx([steps[0]] * (RATES - 1))
    assert middle(SPACE).regularization == pytest.approx(1e-4)


def test_the_axis_ends_at_the_largest_rate_that_did_not_diverge() -> None:
    space = bounded(SPACE, RATES_OF, losses(diverges_from=12, best=5))
    assert space.learning_rate == Interval(1e-5, RATES_OF[11])
    assert space.regularization == SPACE.regularization


def test_the_axis_starts_at_most_three_decades_below_the_best_rate() -> None:
    space = bounded(SPACE, RATES_OF, losses(diverges_from=RATES, best=14))
    assert space.learning_rate == Interval(RATES_OF[14] / 1000, 10.0)


def test_a_test_that_diverged_everywhere_says_nothing() -> None:
    assert bounded(SPACE, RATES_OF, [None] * RATES) == SPACE


def test_the_axis_keeps_a_length_when_only_the_lowest_rate_trains() -> None:
    assert bounded(SPACE, RATES_OF, losses(diverges_from=1, best=0)).learning_rate == Interval(1e-5, RATES_OF[1])


def test_every_layers_rate_is_bounded_but_no_factor() -> None:
    rate, regularization = DEFAULT_SPACE.learning_rate, DEFAULT_SPACE.regularization
    more = (("learning_rate_1", rate), ("regularization_1", regularization), ("learning_rate_factor", Interval(0.5, 2)))
    space = Space(rate, regularization, more)
    rates = learning_rates(space)

    narrow = bounded(space, rates, losses(diverges_from=8, best=2)).axes

    assert narrow["learning_rate_1"] == narrow["learning_rate"] == Interval(rate.low, rates[7])
    assert (narrow["regularization_1"], narrow["learning_rate_factor"]) == (regularization, Interval(0.5, 2))
    assert middle(space) == Point(middle(space).learning_rate, middle(space).regularization)
