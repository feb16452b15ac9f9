import pytest

from service.domain.estimate import TrainingCosts, training_costs


def test_overhead_is_told_from_work() -> None:
    costs = training_costs([(size, 0.5 + 1e-9 * size) for size in (1e6, 1e6, 2e6, 1e9)])
    assert costs is not None
    assert costs.fixed == pytest.approx(0.5)
    assert costs.seconds(1e11) == pytest.approx(100.5)


def test_a_few_that_had_to_wait_change_little() -> None:
    sound = [(size, 0.5 + 1e-9 * size) for size in (1e8, 1e8, 1e8, 1e9, 1e9, 1e9)]
    costs = training_costs([*sound, (1e8, 60.0), (1e9, 45.0)])
    assert costs is not None
    assert costs.seconds(1e10) == pytest.approx(10.5, rel=0.05)


def test_trainings_of_one_size_speak_for_their_like_only() -> None:
    costs = training_costs([(1e6, 0.3), (1.2e6, 0.3), (1e6, 9.0)])
    assert costs is not None
    assert costs.seconds(1e6) == pytest.approx(0.3)
    assert costs.seconds(1e7) == pytest.approx(3.0)
    assert costs.seconds(1e9) is None


def test_time_that_does_not_grow_with_size_is_no_slope() -> None:
    assert training_costs([(1e6, 1.0), (1e8, 0.5)]) == TrainingCosts(0.0, (1e-6 + 5e-9) / 2, 1e9)


@pytest.mark.parametrize("finished", [[], [(0.0, 1.0)]])
def test_nothing_known_is_nothing_said(finished: list[tuple[float, float]]) -> None:
    assert training_costs(finished) is None
