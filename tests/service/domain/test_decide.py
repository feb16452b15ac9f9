"""What becomes of an open search: decided, dead, a second round, or its best trials trained again."""

from dataclasses import replace

import pytest

from service.domain.search import Decision, Progress, Step, TrialSummary, decide
from service.domain.states import TrialState

SEEDS = (101, 102)


def trial(
    ordinal: int, accuracy: float | None, state: TrialState = TrialState.COMPLETE, *, diverged: bool = False
) -> TrialSummary:
    return TrialSummary(ordinal, state, accuracy, diverged)


def running(ordinal: int) -> TrialSummary:
    return trial(ordinal, None, TrialState.RUNNING)


LOSERS = [
    trial(0, 0.9, TrialState.PRUNED),
    trial(1, None, TrialState.FAILED),
    trial(2, 0.8, diverged=True),
    trial(3, None, TrialState.CANCELLED),
]


def test_the_highest_accuracy_wins_and_of_equals_the_earlier_trial() -> None:
    trials = [trial(2, 0.6), trial(0, 0.5), trial(1, 0.6)]
    assert decide(Progress(trials, budget=3)) == Decision(Step.DECIDED, 1)


def test_a_search_waits_for_its_whole_budget() -> None:
    assert decide(Progress([trial(0, 0.5), running(1)], budget=2)) == Decision(Step.OPEN)
    assert decide(Progress([trial(0, 0.5)], budget=2)) == Decision(Step.OPEN)


def test_pruned_failed_and_diverged_trials_count_but_never_win() -> None:
    assert decide(Progress(LOSERS, budget=4)) == Decision(Step.DEAD)
    assert decide(Progress([*LOSERS, trial(4, 0.1)], budget=5)) == Decision(Step.DECIDED, 4)


def test_a_search_whose_seconds_are_spent_is_decided_on_what_it_asked_for() -> None:
    assert decide(Progress([trial(0, 0.5)], budget=90, spent=True)) == Decision(Step.DECIDED, 0)
    assert decide(Progress([trial(0, 0.5), running(1)], budget=90, spent=True)) == Decision(Step.OPEN)
    assert decide(Progress([trial(0, 0.5)], budget=90)) == Decision(Step.OPEN)
    assert decide(Progress([], budget=90, spent=True)) == Decision(Step.OPEN)


@pytest.mark.parametrize(
    ("best", "images", "step"),
    [
        (0.59, 100_000, Step.SECOND_ROUND),
        (0.59, 100, Step.DECIDED),  # within what a hundred images can tell
        (0.61, 100_000, Step.DECIDED),
    ],
)
def test_a_stage_below_its_prefix_by_more_than_the_noise_gets_a_second_round(
    best: float, images: int, step: Step
) -> None:
    progress = Progress([trial(0, best)], budget=1, second_round=5, prefix_accuracy=0.6, images=images)
    assert decide(progress).step is step


def test_a_second_round_needs_a_prefix_and_a_round_that_is_left() -> None:
    below = [trial(0, 0.2)]
    assert decide(Progress(below, budget=1, second_round=5, images=10_000)).step is Step.DECIDED
    assert decide(Progress(below, budget=1, prefix_accuracy=0.6, images=10_000)).step is Step.DECIDED


def test_a_search_in_which_everything_diverged_gets_a_second_round_too() -> None:
    assert decide(Progress(LOSERS, budget=4, second_round=5)) == Decision(Step.SECOND_ROUND)
    crashed = [trial(0, None, TrialState.FAILED)]
    assert decide(Progress(crashed, budget=1, second_round=5)) == Decision(Step.DEAD)


def test_the_two_best_trials_are_confirmed_and_the_higher_mean_wins() -> None:
    trials = [trial(0, 0.60), trial(1, 0.62), trial(2, 0.61)]
    assert decide(Progress(trials, budget=3, seeds=SEEDS)) == Decision(Step.CONFIRM, candidates=(1, 2))
    some = {(1, 101): 0.58, (1, 102): 0.60, (2, 101): 0.60}
    assert decide(Progress(trials, budget=3, seeds=SEEDS, confirmed=some)).step is Step.CONFIRM
    done = {**some, (2, 102): 0.61}
    assert decide(Progress(trials, budget=3, seeds=SEEDS, confirmed=done)) == Decision(Step.DECIDED, 2)


def test_a_stage_is_measured_against_its_prefix_by_its_mean_once_it_is_confirmed() -> None:
    trials = [trial(0, 0.62), trial(1, 0.5)]
    progress = Progress(trials, budget=2, second_round=5, prefix_accuracy=0.6, images=100_000, seeds=(101,))
    assert decide(progress) == Decision(Step.CONFIRM, candidates=(0, 1))
    lucky = {(0, 101): 0.56, (1, 101): 0.5}
    assert decide(replace(progress, confirmed=lucky)) == Decision(Step.SECOND_ROUND)
    sound = {(0, 101): 0.59, (1, 101): 0.5}
    assert decide(replace(progress, confirmed=sound)) == Decision(Step.DECIDED, 0)
    # What failed on one seed is judged by its trial alone.
    assert decide(replace(progress, confirmed={(0, 101): None, (1, 101): 0.5})) == Decision(Step.DECIDED, 0)


def test_of_equal_means_the_earlier_trial_wins() -> None:
    trials = [trial(0, 0.5), trial(1, 0.75)]
    even = {(0, 101): 0.75, (1, 101): 0.5}
    assert decide(Progress(trials, budget=2, seeds=(101,), confirmed=even)) == Decision(Step.DECIDED, 0)


def test_a_seed_on_which_a_confirmation_failed_confirms_nothing() -> None:
    trials = [trial(0, 0.60), trial(1, 0.62)]
    failed = {(0, 101): None, (1, 101): 0.1, (0, 102): 0.7, (1, 102): 0.6}
    assert decide(Progress(trials, budget=2, seeds=SEEDS, confirmed=failed)) == Decision(Step.DECIDED, 0)
    nothing = dict.fromkeys(failed)
    assert decide(Progress(trials, budget=2, seeds=SEEDS, confirmed=nothing)) == Decision(Step.DECIDED, 1)


def test_a_single_trial_has_no_rival_and_is_not_confirmed() -> None:
    assert decide(Progress([*LOSERS, trial(4, 0.1)], budget=5, seeds=SEEDS)) == Decision(Step.DECIDED, 4)
