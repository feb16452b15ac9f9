from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from service.domain.estimate import TrainingCosts, plan_seconds, training_costs
from service.domain.experiment import ExperimentSpec
from service.domain.plan import full_work, plan_experiment
from service.domain.remaining import Existing, remaining_work
from service.domain.states import SearchState

Understand = Callable[..., ExperimentSpec]


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


PARTIAL = {"architecture": "A", "learning": "partial"}
EQUAL = {"architecture": "A", "learning": "total", "budget": "seconds"}
EACH = TrainingCosts(fixed=1.0, per_multiply_add=0.0)


DECIDED = Existing(SearchState.DECIDED)


def seconds(
    spec: ExperimentSpec, existing: Sequence[Existing] = (), costs: TrainingCosts = EACH, *, second_rounds: bool = False
) -> float | None:
    """With a second for every task; of the first searches there is something already."""
    plan = plan_experiment(spec)
    there = {search.key: found for search, found in zip(plan.searches, existing, strict=False)}
    whole = full_work(spec, plan.searches, plan.leaves)
    left = remaining_work(spec, plan, whole, there)
    return plan_seconds(spec, plan, whole, left, costs, second_rounds=second_rounds)


@pytest.fixture
def two_stages(understand: Understand) -> Callable[..., ExperimentSpec]:
    def make(variants: list[dict[str, str]] | None = None, **more: object) -> ExperimentSpec:
        architectures = {"A": ["Conv-3-8 Pool-2", "Conv-3-8"]}
        phases = [{"epochs": 1, "trials": 5}]
        return understand(architectures=architectures, variants=variants or [PARTIAL], phases=phases, **more)

    return make


def test_trials_fits_and_tests_take_their_time(two_stages: Understand) -> None:
    assert seconds(two_stages()) == 2 * 5 + 1
    assert seconds(two_stages(seeds=[0, 1, 2])) == 2 * (5 + 2) + 3
    assert seconds(two_stages(seeds=[0, 1, 2]), [DECIDED, DECIDED]) == 2 * 2 + 3
    assert seconds(two_stages(seeds=[0, 1], search={"seeds": "each"})) == 2 * (2 * 5 + 1)


def test_so_do_range_tests_confirmations_and_second_rounds(two_stages: Understand) -> None:
    spec = two_stages(search={"range_test": True, "second_round": 4, "confirm_seeds": 3})
    assert seconds(spec) == 2 * (1 + 5 + 2 * 3) + 1
    assert seconds(spec, second_rounds=True) == 2 * (1 + 5 + 4 + 4 * 3) + 1


def test_who_may_spend_seconds_spends_those_of_the_searches_it_matches(two_stages: Understand) -> None:
    assert seconds(two_stages([PARTIAL, EQUAL])) == (2 * 5 + 1) + (2 * 5 + 1)
    tested = replace(DECIDED, evaluated=frozenset({0}))
    assert seconds(two_stages([PARTIAL, EQUAL]), [DECIDED, tested]) == 2 * 5 + 1


def test_a_task_larger_than_anything_known_leaves_no_estimate(two_stages: Understand) -> None:
    spec, costs = two_stages(), TrainingCosts(1.0, 0.0, largest=1.0)
    assert seconds(spec, costs=costs) is None
    assert seconds(spec, [Existing(SearchState.OPEN, trials=2), Existing(SearchState.WAITING)], costs) is None
    assert seconds(spec, [DECIDED, replace(DECIDED, evaluated=frozenset({0}))], costs) == 0


def test_what_has_ended_takes_no_more_time(two_stages: Understand) -> None:
    spec = two_stages(seeds=[0, 1, 2])
    fitted = replace(DECIDED, fitted=frozenset({1, 2}))
    tested = replace(fitted, evaluated=frozenset({0, 1, 2}))
    assert seconds(spec, [fitted, tested]) == 0
    assert seconds(spec, [fitted, replace(tested, fitted=frozenset({1}), evaluated=frozenset({0, 1}))]) == 1 + 1
    # Under way: three of five trials have ended, and nothing else.
    assert seconds(spec, [replace(DECIDED, state=SearchState.OPEN, trials=3)]) == (2 + 2) + (5 + 2 + 3)
