from dataclasses import replace

import pytest

from service.domain.experiment import SearchSettings
from service.domain.layers import Conv, Stage
from service.domain.schemes import stage_space
from service.domain.search import opening, start_points
from service.domain.space import DEFAULT_SPACE, EXPONENTIAL_SPACE, Interval, Point, Space, Suggestion
from service.domain.states import Sampler, Scheme, SearchState, TrialOrigin

A, B, C, D = (Point(learning_rate, 0.01) for learning_rate in (0.001, 0.002, 0.003, 0.004))
INITIAL = Point(1e-4, 1.0)
STAGE = Stage((Conv(3, 4),), (1, 8, 8), (4, 8, 8))


def settings(*enqueue: Point, sampler: Sampler = Sampler.AUTO) -> SearchSettings:
    space = EXPONENTIAL_SPACE if sampler is Sampler.RANDOM_EXPONENTIAL else DEFAULT_SPACE
    return SearchSettings(sampler, space, enqueue, INITIAL)


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
        (SearchState.INFEASIBLE, None, SearchState.DEAD),
        (SearchState.CANCELLED, None, SearchState.DEAD),
        (SearchState.DECIDED, SearchState.DEAD, SearchState.OPEN),
    ],
)
def test_a_search_opens_when_its_prefix_is_decided_and_the_phase_before_is_done(
    parent: SearchState | None, earlier: SearchState | None, state: SearchState
) -> None:
    assert opening(parent, earlier) is state


def test_a_search_that_spends_the_seconds_of_others_opens_when_all_of_them_have_ended() -> None:
    ended = [SearchState.DECIDED, SearchState.DEAD, SearchState.INFEASIBLE]
    assert opening(None, None, ended) is SearchState.OPEN
    assert opening(None, None, [*ended, SearchState.OPEN]) is SearchState.WAITING
    assert opening(None, SearchState.WAITING, ended) is SearchState.WAITING


def test_start_points_are_the_phase_before_then_the_enqueued_then_the_ancestors() -> None:
    assert start_points(settings(A, B), STAGE, DEFAULT_SPACE, 11, earlier=C, ancestors=[D]) == (
        Suggestion(C, TrialOrigin.INCUMBENT),
        Suggestion(A, TrialOrigin.ENQUEUED),
        Suggestion(B, TrialOrigin.ENQUEUED),
        Suggestion(D, TrialOrigin.INCUMBENT),
    )


def test_a_start_point_is_tried_once_and_within_the_budget() -> None:
    points = start_points(settings(A, B), STAGE, DEFAULT_SPACE, 3, earlier=B, ancestors=[A, C, C, D])
    assert [suggestion.point for suggestion in points] == [B, A, C]
    assert start_points(settings(), STAGE, DEFAULT_SPACE, 11) == ()


def test_an_ancestor_outside_the_space_is_left_out() -> None:
    assert start_points(settings(), STAGE, DEFAULT_SPACE, 11, ancestors=[Point(10.0, 0.01)]) == ()


def test_a_range_test_keeps_no_point_of_the_stage_itself_from_being_tried() -> None:
    narrow = Space(Interval(1e-4, 0.0015), DEFAULT_SPACE.regularization)
    assert start_points(settings(B), STAGE, narrow, 11, earlier=C, ancestors=[A, D]) == (
        Suggestion(C, TrialOrigin.INCUMBENT),
        Suggestion(B, TrialOrigin.ENQUEUED),
        Suggestion(A, TrialOrigin.INCUMBENT),
    )


def test_what_a_second_round_found_beyond_the_space_starts_the_next_phase() -> None:
    found = Point(1.0, 0.01)
    wider = replace(settings(), second_round=3)
    points = start_points(wider, STAGE, DEFAULT_SPACE, 11, earlier=found)
    assert points == (Suggestion(found, TrialOrigin.INCUMBENT),)


def test_start_points_have_the_axes_of_the_stage() -> None:
    geometric = replace(settings(A), scheme=Scheme.GEOMETRIC)
    space = stage_space(geometric, STAGE)
    enqueued, inherited = start_points(geometric, STAGE, space, 11, ancestors=[B])
    assert enqueued.point.values == {**A.values, "learning_rate_factor": 1.0, "regularization_factor": 1.0}
    assert space.holds(inherited.point)
    graded = replace(geometric, learning_rate_factor=Interval(1.5, 4.0))
    # The same rate for every layer is no point of a space in which the factor is above one.
    assert start_points(graded, STAGE, stage_space(graded, STAGE), 11) == ()


def test_random_exponential_search_starts_at_one_point() -> None:
    exponential = settings(sampler=Sampler.RANDOM_EXPONENTIAL)
    assert start_points(exponential, STAGE, EXPONENTIAL_SPACE, 11, ancestors=[A]) == (
        Suggestion(INITIAL, TrialOrigin.ENQUEUED),
    )
    assert start_points(exponential, STAGE, EXPONENTIAL_SPACE, 11, earlier=B) == (Suggestion(B, TrialOrigin.INCUMBENT),)
