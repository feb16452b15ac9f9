import pytest

from service.domain.statistics import difference_error, interval


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
