from math import hypot

import numpy as np
import pytest

from service.domain.statistics import (
    CERTAIN,
    SIGNIFICANCE,
    Ratio,
    accuracy_interval,
    crossed_difference,
    difference,
    difference_error,
    falls_short,
    holm,
    interval,
    noise,
    ratio,
    sign_test,
)


def test_the_interval_is_students() -> None:
    found = interval([0.50, 0.52, 0.54])
    assert found is not None
    assert found.mean == pytest.approx(0.52)
    # t(0.975, 2) = 4.3027, standard deviation 0.02.
    assert found.high == pytest.approx(0.52 + 4.3027 * 0.02 / 3**0.5, abs=1e-6)
    assert found.low == pytest.approx(0.52 - 4.3027 * 0.02 / 3**0.5, abs=1e-6)
    assert found.values == (0.50, 0.52, 0.54)


def test_one_seed_has_no_bounds_and_none_no_interval() -> None:
    found = interval([0.5])
    assert found is not None
    assert (found.mean, found.low, found.high) == (0.5, None, None)
    assert interval([]) is None


def test_the_error_of_a_difference_adds_both_variances() -> None:
    assert difference_error(0.5, 0.5, 1_000) == pytest.approx((2 * 0.25 / 1_000) ** 0.5)
    assert difference_error(1.0, 0.0, 10) == 0.0


def test_a_difference_is_paired_over_the_seeds_that_both_have() -> None:
    found = difference({0: 0.60, 1: 0.62, 2: 0.64, 3: 0.9}, {2: 0.61, 0: 0.59, 1: 0.60, 7: 0.1}, 100_000)
    assert found is not None
    assert (found.seeds, found.method) == (3, "paired")
    assert found.values == pytest.approx((1.0, 2.0, 3.0))
    # Standard deviation 1, t(0.975, 2) = 4.302653, t = 2 * sqrt(3); with two degrees of freedom the two-sided
    # p-value is 1 - t / sqrt(2 + t^2) = 1 - sqrt(12 / 14).
    assert (found.points, found.standard_error) == pytest.approx((2.0, 3**-0.5))
    assert (found.low, found.high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert found.p_value == pytest.approx(1 - (12 / 14) ** 0.5)


def test_with_one_seed_the_number_of_images_tells_what_is_noise() -> None:
    found = difference({0: 0.6, 1: 0.9}, {0: 0.5}, 1_000)
    assert found is not None
    error = 100 * ((0.6 * 0.4 + 0.5 * 0.5) / 1_000) ** 0.5
    assert (found.points, found.standard_error) == pytest.approx((10.0, error))
    assert (found.low, found.high) == pytest.approx((10 - 1.96 * error, 10 + 1.96 * error))
    assert (found.seeds, found.method) == (1, "images")
    # z = 4.5175: the normal distribution leaves 6.26e-6 beyond it on both sides.
    assert found.p_value == pytest.approx(6.26e-6, rel=1e-2)


def test_seeds_without_any_spread_prove_nothing_by_themselves() -> None:
    found = difference({0: 0.52, 1: 0.54}, {0: 0.50, 1: 0.52}, 100)
    assert found is not None
    assert (found.method, found.seeds) == ("images", 2)
    assert found.p_value > 0.7


def test_seeds_that_agree_by_chance_do_not_outdo_the_images() -> None:
    alike = difference({0: 0.6050, 1: 0.6050}, {0: 0.6, 1: 0.6}, 10_000)
    nearly = difference({0: 0.6050, 1: 0.6051}, {0: 0.6, 1: 0.6}, 10_000)
    assert alike is not None
    assert nearly is not None
    assert alike.p_value == pytest.approx(nearly.p_value, abs=0.01)
    assert nearly.p_value > 0.4
    assert nearly.method == "images"
    assert nearly.low < 0 < nearly.high


def crossed(first: str, second: str) -> tuple[dict[int, int], dict[int, int]]:
    """Seeds are words of + and -, an image each."""
    one, other = (
        {
            seed: sum(1 << image for image, mark in enumerate(word) if mark == "+")
            for seed, word in enumerate(words.split())
        }
        for words in (first, second)
    )
    return one, other


def test_of_one_seed_the_images_that_only_one_side_has_right_tell() -> None:
    one, other = crossed("+" * 12 + "-" * 88, "-" * 8 + "+" * 4 + "-" * 84 + "+" * 4)
    found = crossed_difference(one, other, 100)
    assert found is not None
    assert (found.points, found.seeds, found.method, found.values) == (4.0, 1, "crossed-images", (4.0,))
    # Eight images to four, and one more for each side, of then 102: the variance of 14 squares around a mean of 4/102.
    error = 100 * ((14 - 4**2 / 102) / 101 / 102) ** 0.5
    assert found.standard_error == pytest.approx(error)
    assert (found.low, found.high) == pytest.approx((4 - 1.959964 * error, 4 + 1.959964 * error))
    # z = 1.0911.
    assert found.p_value == pytest.approx(0.2752, abs=1e-4)


def test_the_errors_of_seeds_and_images_are_added_and_what_they_share_counts_once() -> None:
    table = np.array([[1, 1, 0, 0, -1, 0, 1, 0], [1, 0, 0, 1, 0, 0, 1, 1], [1, 0, 1, 0, 0, -1, 1, 0]])
    words = [" ".join("".join("+" if d == sign else "-" for d in row) for row in table) for sign in (1, -1)]
    found = crossed_difference(*crossed(*words), 8)
    assert found is not None
    assert found.method == "crossed"
    assert found.values == pytest.approx((25.0, 50.0, 25.0))
    whole = np.hstack([table, [[1, -1]] * 3])
    n, count = whole.shape
    seeds, images, mean = whole.mean(1), whole.mean(0), whole.mean()
    by_seeds = count * seeds.var(ddof=1)
    by_images = n * images.var(ddof=1)
    rest = ((whole - seeds[:, None] - images + mean) ** 2).sum() / ((n - 1) * (count - 1))
    assert found.standard_error == pytest.approx(100 * max(by_seeds + by_images - rest, by_images) ** 0.5 / 30**0.5)
    # t(0.975, 2) = 4.302653.
    half = 100 * hypot(4.302653 * by_seeds**0.5, 1.959964 * (by_images - rest) ** 0.5) / 30**0.5
    half = max(half, 100 * 1.959964 * by_images**0.5 / 30**0.5)
    assert (found.low, found.high) == pytest.approx((found.points - half, found.points + half))


def test_zero_is_a_bound_at_the_level_of_the_p_value() -> None:
    one, other = crossed("++++++++++------ ++++++++-+--++--", "++-+------+----- +++-------+-+++-")
    found = crossed_difference(one, other, 16)
    assert found is not None
    assert found.low < 0 < found.points
    assert SIGNIFICANCE < found.p_value < 1
    certain = crossed_difference({0: (1 << 10_000) - 1}, {0: 0}, 10_000)
    assert certain is not None
    assert (certain.points, certain.p_value) == (100.0, CERTAIN)


def test_seeds_that_agree_by_chance_do_not_outdo_the_paired_images() -> None:
    one, other = crossed("++++-----+ ++++----+-", "--------++ ------++--")
    found = crossed_difference({0: one[0], 1: one[0]}, {0: other[0], 1: other[0]}, 10)
    single = crossed_difference({0: one[0]}, {0: other[0]}, 10)
    assert found is not None
    assert single is not None
    assert (found.low, found.high, found.p_value) == pytest.approx((single.low, single.high, single.p_value))
    assert crossed_difference({0: 1}, {1: 1}, 10) is None


@pytest.mark.parametrize(("seeds", "luck"), [(1, 0.0), (2, 0.05), (3, 0.05), (5, 0.0), (5, 0.05)])
def test_chance_stays_within_the_interval_95_times_of_100(seeds: int, luck: float) -> None:
    """Of two variants that are equally good: images are hard for both, or for one; training has luck, in all and each.

    The rule for accuracies alone keeps all of them, which is what hides differences that are there.
    """
    chance = np.random.default_rng(20)
    images, times = 1_000, 400
    kept = careful = beyond = 0
    for _ in range(times):
        ease = chance.normal(0.8, 1.5, images) + chance.normal(0, 0.5, (2, 1, images))
        right = ease + chance.normal(0, luck, (2, seeds, 1)) + chance.normal(0, 1, (2, seeds, images)) > 0
        sides = [
            {
                seed: int.from_bytes(np.packbits(row, bitorder="little").tobytes(), "little")
                for seed, row in enumerate(side)
            }
            for side in right
        ]
        found = crossed_difference(sides[0], sides[1], images)
        assert found is not None
        kept += found.low <= 0 <= found.high
        beyond += found.p_value < SIGNIFICANCE
        one, other = (dict(enumerate(side.mean(1).tolist())) for side in right)
        rule = difference(one, other, images)
        assert rule is not None
        careful += rule.low <= 0 <= rule.high
    assert 0.925 < kept / times <= 0.99
    assert beyond == times - kept
    assert careful >= kept


@pytest.mark.parametrize("seeds", [1, 2])
def test_no_bound_of_a_difference_is_beyond_what_accuracies_allow(seeds: int) -> None:
    every, none = dict.fromkeys(range(seeds), 0b1111), dict.fromkeys(range(seeds), 0)
    for first, second in ((every, none), (none, every)):
        found = crossed_difference(first, second, 4)
        assert found is not None
        assert abs(found.points) == 100.0
        assert -100.0 <= found.low < found.high <= 100.0
    # Seeds that contradict each other: Student's half with two of them is 12.7 standard errors.
    apart = difference({0: 1.0, 1: 0.5}, {0: 0.0, 1: 0.5}, 4)
    assert apart is not None
    assert (apart.points, apart.low, apart.high) == (50.0, -100.0, 100.0)


@pytest.mark.parametrize(("first", "second", "p_value"), [(1.0, 1.0, 1.0), (1.0, 0.0, 0.0)])
def test_accuracies_without_error_are_equal_or_not(first: float, second: float, p_value: float) -> None:
    found = difference({0: first}, {0: second}, 10)
    assert found is not None
    assert found.p_value == p_value


def test_without_a_common_seed_there_is_no_difference() -> None:
    assert difference({0: 0.5}, {1: 0.5}, 10) is None


def test_a_ratio_is_a_geometric_mean_over_the_seeds_that_both_have() -> None:
    found = ratio({0: 1.0, 1: 8.0, 2: 9.0, 3: 0.0}, {1: 2.0, 0: 1.0, 3: 5.0})
    assert found is not None
    assert found.values == (1.0, 4.0)
    # Logarithms 0 and 2 log 2: standard deviation sqrt(2) log 2, over sqrt(2) seeds log 2; t(0.975, 1) = 12.7062.
    half = 2**12.7062
    assert (found.ratio, found.low, found.high) == pytest.approx((2.0, 2 / half, 2 * half), rel=1e-4)


def test_a_ratio_of_one_seed_has_no_bounds_and_of_none_is_none() -> None:
    assert ratio({0: 4.0}, {0: 4.0}) == Ratio(1.0, None, None, (1.0,))
    assert ratio({0: 3.0}, {1: 2.0}) is None
    assert ratio({0: 3.0}, {0: 0.0}) is None


def test_holm_multiplies_by_how_many_are_left_and_never_falls() -> None:
    # Sorted: 0.01 x 4, 0.02 x 3, 0.025 x 2 (raised to 0.06), 0.9 x 1.
    assert holm([0.02, 0.9, 0.01, 0.025]) == pytest.approx((0.06, 0.9, 0.04, 0.06))
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([]) == ()


def test_the_sign_test_is_two_sided() -> None:
    # Of the 32 ways five coins fall, two have all on one side and twelve at least four.
    assert sign_test(5, 0) == pytest.approx(2 / 32)
    assert sign_test(1, 4) == pytest.approx(12 / 32)
    assert sign_test(2, 2) == 1.0
    assert sign_test(0, 0) is None


def test_a_stage_falls_short_by_more_than_the_noise() -> None:
    # Standard error sqrt(0.5 / 1000) = 0.0224, noise 1.96 times that.
    assert noise(0.5, 0.5, 1_000) == pytest.approx(0.0438, abs=1e-4)
    assert falls_short(0.455, 0.5, 1_000)
    assert not falls_short(0.457, 0.5, 1_000)
    assert not falls_short(0.6, 0.5, 1_000)


def test_an_interval_never_tells_of_less_than_nothing() -> None:
    found = interval([1.0, 9.0])
    assert found is not None
    assert (found.mean, found.low) == (5.0, 0.0)
    # t(0.975, 1) = 12.706, standard deviation 5.657.
    assert found.high == pytest.approx(5 + 12.706 * 4, abs=0.01)


def test_an_interval_of_accuracies_ends_where_accuracies_do() -> None:
    found = accuracy_interval([1.0, 0.9])
    assert found is not None
    assert (found.mean, found.high) == (0.95, 1.0)
    assert found.low is not None
    assert 0.0 <= found.low < 0.9
    assert accuracy_interval([0.5]) == interval([0.5])
    assert accuracy_interval([]) is None
