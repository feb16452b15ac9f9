"""What is left to do beside what is there; the estimate of it has tests of its own."""

from collections.abc import Callable
from dataclasses import astuple, replace

import pytest

from service.domain.experiment import ExperimentSpec
from service.domain.plan import Plan, plan_experiment
from service.domain.remaining import Existing, full_work, remaining_work
from service.domain.states import PlannedState, SearchState

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


def test_without_anything_there_all_of_it_is_left(spec: ExperimentSpec, plan: Plan) -> None:
    assert remaining_work(spec, plan, {}) == full_work(spec, plan)


def test_what_is_under_way_lacks_what_has_not_ended(spec: ExperimentSpec, plan: Plan) -> None:
    first, second = plan.searches
    there = {first.key: Existing(SearchState.OPEN, trials=3, range_tests=1)}

    left = remaining_work(spec, plan, there)

    whole = full_work(spec, plan)
    assert left[first.key] == replace(whole[first.key], trials=6, least_trials=2, range_tests=0)
    assert left[second.key] == whole[second.key]


def test_what_is_decided_may_lack_other_seeds_and_tests(spec: ExperimentSpec, plan: Plan) -> None:
    first, second = plan.searches
    there = {
        first.key: replace(DECIDED, trials=5, fitted=frozenset({1, 2})),
        second.key: replace(DECIDED, trials=5, fitted=frozenset({1}), evaluated=frozenset({0, 1})),
    }

    left = remaining_work(spec, plan, there)

    assert astuple(left[first.key]) == (0,) * 7
    assert (left[second.key].trials, left[second.key].fits, left[second.key].evaluations) == (0, 1, 1)


def test_a_lost_seed_leaves_nothing_to_do_behind_it(spec: ExperimentSpec, plan: Plan) -> None:
    first, second = plan.searches
    lost = replace(DECIDED, fitted=frozenset({1, 2}), lost=frozenset({2}))

    left = remaining_work(spec, plan, {first.key: lost})

    assert (left[second.key].fits, left[second.key].evaluations) == (1, 2)


def test_what_died_of_its_results_is_taken_over_as_it_is(spec: ExperimentSpec, plan: Plan) -> None:
    there = {search.key: Existing(SearchState.DEAD) for search in plan.searches}
    assert {astuple(work) for work in remaining_work(spec, plan, there).values()} == {(0,) * 7}
    assert {found.planned_state for found in there.values()} == {PlannedState.TAKEN_OVER}
