from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.ask_ahead import OpenSearch, affordable, searches_to_ask


def search(key: str, asked: int = 0, pending: int = 0, budget: int = 11, blind: int = 0) -> OpenSearch:
    return OpenSearch(key, budget, asked, pending, blind)


def test_a_lone_search_on_one_slot_is_asked_when_its_trial_before_has_finished() -> None:
    assert searches_to_ask([search("a", 3, 1)], slots=1, workers=1) == ()
    assert searches_to_ask([search("a", 3, 0)], slots=1, workers=1) == ("a",)


def test_start_and_sobol_points_are_asked_early() -> None:
    assert searches_to_ask([search("a", 1, 1, blind=5)], slots=1, workers=1) == ("a",)


def test_every_slot_gets_a_trial_even_if_the_model_must_guess() -> None:
    assert searches_to_ask([search("a", 3, 1)], slots=3, workers=1) == ("a", "a")


def test_one_more_a_worker_lies_ready_from_another_search() -> None:
    assert searches_to_ask([search("a", 3, 1), search("b")], slots=1, workers=1) == ("b",)
    assert searches_to_ask([search("a", 3, 1), search("b", 1, 1), search("c")], slots=1, workers=1) == ()


def test_suggestions_are_spread_over_the_searches_with_the_fewest_pending_then_in_order() -> None:
    searches = [search("a", 5, 2), search("b"), search("c")]
    assert searches_to_ask(searches, slots=8, workers=2) == ("b", "c", "b", "c", "a", "b")


def test_higher_priority_is_asked_first_and_equals_share() -> None:
    old = [replace(search(key, blind=11), experiment="old") for key in "abc"]
    new = replace(search("n", blind=11), experiment="new")
    assert searches_to_ask([*old, new], slots=2, workers=2) == ("a", "n", "b", "n")
    urgent = replace(new, priority=1)
    assert searches_to_ask([*old, urgent], slots=2, workers=2) == ("n", "n", "n", "n")


def test_a_spent_budget_is_not_exceeded() -> None:
    assert searches_to_ask([search("a", 9, 0)], slots=8, workers=1) == ("a", "a")


def test_fits_and_evaluations_take_slots_too() -> None:
    assert searches_to_ask([search("a")], slots=2, workers=1, other_tasks=3) == ()


def test_without_workers_nothing_is_asked() -> None:
    assert searches_to_ask([search("a")], slots=0, workers=0) == ()


SEARCHES = st.lists(
    st.builds(
        lambda asked, pending, left, blind: OpenSearch("", asked + left, asked, min(asked, pending), blind),
        *[st.integers(0, 12)] * 4,
    ),
    max_size=6,
)


@given(SEARCHES, st.integers(1, 8), st.integers(1, 4))
def test_slots_are_covered_as_far_as_budgets_reach_and_never_more_than_one_ahead_a_worker(
    searches: list[OpenSearch], slots: int, workers: int
) -> None:
    named = [OpenSearch(str(n), s.budget, s.asked, s.pending, s.blind) for n, s in enumerate(searches)]
    chosen = searches_to_ask(named, slots, workers)
    before = sum(s.pending for s in named)
    left = sum(s.budget - s.asked for s in named)
    assert all(chosen.count(s.key) <= s.budget - s.asked for s in named)
    assert len(chosen) <= max(0, slots + workers - before)
    assert len(chosen) >= min(left, max(0, slots - before))


@pytest.mark.parametrize(
    ("finished", "seconds", "spent", "trials"),
    [
        (3, None, 99.0, 30),
        (0, 18.0, 0.0, 1),  # nothing is known of what a trial costs
        (0, 18.0, 5.0, 1),  # a first attempt was lost
        (1, 18.0, 0.0, 2),  # a trial that cost nothing tells nothing
        (1, 18.0, 6.0, 2),
        (4, 18.0, 12.0, 6),
        (4, 19.0, 12.0, 7),
        (2, 900.0, 6.0, 4),  # no more under way than have finished
        (20, 900.0, 6.0, 30),
        (6, 18.0, 18.0, 6),
        (0, 0.0, 0.0, 1),
    ],
)
def test_a_search_may_have_the_trials_that_its_seconds_pay_for(
    finished: int, seconds: float | None, spent: float, trials: int
) -> None:
    assert affordable(30, finished, seconds, spent) == trials


@given(st.lists(st.floats(0.5, 2.0), min_size=40, max_size=40), st.floats(1.0, 30.0), st.integers(1, 64))
def test_a_fleet_of_any_size_spends_the_seconds_and_never_has_more_under_way_than_has_finished(
    costs: list[float], seconds: float, slots: int
) -> None:
    """Slots take all they are given, and their trials finish together: the worst case."""
    finished, spent = 0, 0.0
    while (allowed := affordable(40, finished, seconds, spent)) > finished:
        assert allowed - finished <= max(finished, 1)
        until = min(allowed, finished + slots)
        spent += sum(costs[finished:until])
        finished = until
    assert finished == 40 or spent >= seconds


def test_next_to_nothing_spent_is_no_infinite_budget() -> None:
    assert affordable(30, 2, seconds=1e9, spent=5e-324) == 4
