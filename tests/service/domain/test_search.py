import pytest

from service.domain.experiment import SearchSettings
from service.domain.search import Decision, TrialSummary, decide, incumbent, opening, start_points
from service.domain.space import DEFAULT_SPACE, EXPONENTIAL_SPACE, Point, Suggestion
from service.domain.states import Sampler, SearchState, TrialOrigin, TrialState

A, B, C, D = (Point(learning_rate, 0.01) for learning_rate in (0.001, 0.002, 0.003, 0.004))
INITIAL = Point(1e-4, 1.0)


def settings(*enqueue: Point, sampler: Sampler = Sampler.AUTO) -> SearchSettings:
    space = EXPONENTIAL_SPACE if sampler is Sampler.RANDOM_EXPONENTIAL else DEFAULT_SPACE
    return SearchSettings(sampler, space, enqueue, INITIAL)


def trial(
    ordinal: int, accuracy: float | None, state: TrialState = TrialState.COMPLETE, *, diverged: bool = False
) -> TrialSummary:
    return TrialSummary(ordinal, state, accuracy, diverged)


@pytest.mark.parametrize(
    ("parent", "earlier", "state"),
    [
        (None, None, SearchState.OPEN),
        (SearchState.DECIDED, None, SearchState.OPEN),
        (SearchState.DECIDED, SearchState.DECIDED, SearchState.OPEN),
        (SearchState.OPEN, None, SearchState.WAITING),
        (SearchState.WAITING, SearchState.DECIDED, SearchState.WAITING),
        (None, SearchState.OPEN, SearchState.WAITING),
        (SearchState.DECIDED, SearchState.WAITING, SearchState.WAITING),
        (SearchState.DEAD, SearchState.OPEN, SearchState.DEAD),
        (SearchState.DECIDED, SearchState.DEAD, SearchState.OPEN),
    ],
)
def test_a_search_opens_when_its_prefix_is_decided_and_the_phase_before_is_done(
    parent: SearchState | None, earlier: SearchState | None, state: SearchState
) -> None:
    assert opening(parent, earlier) is state


def test_start_points_are_the_phase_before_then_the_enqueued_then_the_ancestors() -> None:
    assert start_points(settings(A, B), 11, earlier=C, ancestors=[D]) == (
        Suggestion(C, TrialOrigin.INCUMBENT),
        Suggestion(A, TrialOrigin.ENQUEUED),
        Suggestion(B, TrialOrigin.ENQUEUED),
        Suggestion(D, TrialOrigin.INCUMBENT),
    )


def test_a_start_point_is_tried_once_and_within_the_budget() -> None:
    points = start_points(settings(A, B), 3, earlier=B, ancestors=[A, C, C, D])
    assert [suggestion.point for suggestion in points] == [B, A, C]
    assert start_points(settings(), 11) == ()


def test_an_incumbent_from_another_space_is_left_out() -> None:
    assert start_points(settings(), 11, ancestors=[Point(10.0, 0.01)]) == ()


def test_random_exponential_search_starts_at_one_point() -> None:
    exponential = settings(sampler=Sampler.RANDOM_EXPONENTIAL)
    assert start_points(exponential, 11, ancestors=[A]) == (Suggestion(INITIAL, TrialOrigin.ENQUEUED),)
    assert start_points(exponential, 11, earlier=B) == (Suggestion(B, TrialOrigin.INCUMBENT),)


def test_the_highest_accuracy_wins_and_of_equals_the_earlier_trial() -> None:
    trials = [trial(2, 0.6), trial(0, 0.5), trial(1, 0.6)]
    assert decide(trials, budget=3) == Decision(SearchState.DECIDED, 1)


def test_a_search_waits_for_its_whole_budget() -> None:
    assert decide([trial(0, 0.5), trial(1, None, TrialState.RUNNING)], budget=2) == Decision(SearchState.OPEN)
    assert decide([trial(0, 0.5)], budget=2) == Decision(SearchState.OPEN)


def test_pruned_failed_and_diverged_trials_count_but_never_win() -> None:
    losers = [
        trial(0, 0.9, TrialState.PRUNED),
        trial(1, None, TrialState.FAILED),
        trial(2, 0.8, diverged=True),
        trial(3, None, TrialState.CANCELLED),
    ]
    assert decide(losers, budget=4) == Decision(SearchState.DEAD)
    assert decide([*losers, trial(4, 0.1)], budget=5) == Decision(SearchState.DECIDED, 4)
    assert incumbent(losers) is None
