"""What is left to do beside what is there; the estimate of it has tests of its own."""

from collections.abc import Callable, Mapping
from dataclasses import astuple, replace

import pytest

from service.domain.experiment import ExperimentSpec
from service.domain.plan import Plan, full_work, plan_experiment
from service.domain.remaining import Existing, remaining_work
from service.domain.states import PlannedState, SearchState
from service.domain.workload import Workload

Understand = Callable[..., ExperimentSpec]
DECIDED = Existing(SearchState.DECIDED)


@pytest.fixture
def spec(understand: Understand) -> ExperimentSpec:
    return understand(
        architectures={"A": ["Conv-3-8 Pool-2", "Conv-3-8"]},
        variants=[{"architecture": "A", "learning": "partial"}],
        phases=[{"epochs": 1, "trials": 5}],
        search={"range_test": True, "second_round": 4, "confirm_seeds": 3},
        seeds=[0, 1, 2],
    )


@pytest.fixture
def plan(spec: ExperimentSpec) -> Plan:
    return plan_experiment(spec)


def what_is_left(spec: ExperimentSpec, plan: Plan, existing: Mapping[str, Existing]) -> dict[str, Workload]:
    return remaining_work(spec, plan, full_work(spec, plan.searches, plan.leaves), existing)


def test_without_anything_there_all_of_it_is_left(spec: ExperimentSpec, plan: Plan) -> None:
    assert what_is_left(spec, plan, {}) == full_work(spec, plan.searches, plan.leaves)


def test_what_is_under_way_lacks_what_has_not_ended(spec: ExperimentSpec, plan: Plan) -> None:
    first, second = plan.searches
    there = {first.key: Existing(SearchState.OPEN, trials=3, range_tests=1)}

    left = what_is_left(spec, plan, there)

    whole = full_work(spec, plan.searches, plan.leaves)
    assert left[first.key] == replace(whole[first.key], trials=6, least_trials=2, range_tests=0)
    assert left[second.key] == whole[second.key]


def test_what_is_decided_may_lack_other_seeds_and_tests(spec: ExperimentSpec, plan: Plan) -> None:
    first, second = plan.searches
    there = {
        first.key: replace(DECIDED, trials=5, fitted=frozenset({1, 2})),
        second.key: replace(DECIDED, trials=5, fitted=frozenset({1}), evaluated=frozenset({0, 1})),
    }

    left = what_is_left(spec, plan, there)

    assert astuple(left[first.key]) == (0,) * 7
    assert (left[second.key].trials, left[second.key].fits, left[second.key].evaluations) == (0, 1, 1)


def test_a_lost_seed_leaves_nothing_to_do_behind_it(spec: ExperimentSpec, plan: Plan) -> None:
    first, second = plan.searches
    lost = replace(DECIDED, fitted=frozenset({1, 2}), lost=frozenset({2}))

    left = what_is_left(spec, plan, {first.key: lost})

    assert (left[second.key].fits, left[second.key].evaluations) == (1, 2)


def test_what_died_of_its_results_is_taken_over_as_it_is(spec: ExperimentSpec, plan: Plan) -> None:
    there = {search.key: Existing(SearchState.DEAD) for search in plan.searches}
    assert {astuple(work) for work in what_is_left(spec, plan, there).values()} == {(0,) * 7}
    assert {found.planned_state for found in there.values()} == {PlannedState.TAKEN_OVER}


@pytest.mark.parametrize("fruitless", sorted(SearchState.fruitless()))
@pytest.mark.parametrize("child", [None, SearchState.WAITING])
def test_nothing_is_left_to_do_behind_a_search_that_ended_without_a_stage(
    spec: ExperimentSpec, plan: Plan, fruitless: SearchState, child: SearchState | None
) -> None:
    first, second = plan.searches
    there = {first.key: Existing(fruitless, trials=9)} | ({second.key: Existing(child)} if child else {})

    left = what_is_left(spec, plan, there)

    assert astuple(left[second.key]) == (0,) * 7, "it is dead on arrival"


def test_a_search_that_ended_without_a_stage_stops_all_that_stand_on_it_and_no_others(understand: Understand) -> None:
    deep = understand(
        architectures={"A": ["Conv-3-8 Pool-2", "Conv-3-8", "Conv-3-8"], "B": ["Conv-3-4 Pool-2", "Conv-3-8"]},
        variants=[{"architecture": name, "learning": "partial"} for name in "AB"],
        phases=[{"epochs": 1, "trials": 2}, {"epochs": 2, "trials": 2}],
    )
    plan = plan_experiment(deep)

    left = what_is_left(deep, plan, {plan.variants[0].path[0]: Existing(SearchState.DEAD, trials=2)})

    stopped = set(plan.variants[0].path)
    assert {key for key, work in left.items() if not work.trials} == stopped, "the next phase only lacks an incumbent"
