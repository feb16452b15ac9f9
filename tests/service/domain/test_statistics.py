import pytest

from service.domain.statistics import (
    Ratio,
    accuracy_interval,
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
