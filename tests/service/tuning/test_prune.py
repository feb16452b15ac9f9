from collections.abc import Sequence

import pytest

from service.domain.pruning import MeasuredTrial, PruningBrief
from service.domain.states import Pruner, TrialOrigin, TrialState
from service.tuning.prune import should_prune

PRUNERS = [pruner for pruner in Pruner if pruner is not Pruner.NONE]
LENGTH = 8  # two epochs, measured four times each
STEPS = [245 * number for number in range(1, LENGTH + 1)]


def brief(pruner: Pruner, key: str = "key") -> PruningBrief:
    return PruningBrief(key, pruner)


def curve(final: float, measured: int = LENGTH) -> tuple[tuple[int, float], ...]:
    """Rising to ``final``."""
    return tuple((step, final * (0.6 + 0.05 * number)) for number, step in enumerate(STEPS[:measured], 1))


def trial(
    ordinal: int,
    final: float,
    measured: int = LENGTH,
    state: TrialState = TrialState.COMPLETE,
    origin: TrialOrigin = TrialOrigin.MODEL,
) -> MeasuredTrial:
    return MeasuredTrial(ordinal, origin, state, curve(final, measured))


def running(ordinal: int, final: float, measured: int, origin: TrialOrigin = TrialOrigin.MODEL) -> MeasuredTrial:
    return trial(ordinal, final, measured, TrialState.RUNNING, origin)


FIVE = tuple(trial(ordinal, final) for ordinal, final in enumerate((0.5, 0.6, 0.55, 0.58, 0.62)))


def ended_at(pruner: Pruner, ordinal: int, final: float, others: Sequence[MeasuredTrial], key: str = "key") -> int:
    """After which of its measurements a trial is ended; LENGTH when it never is."""
    verdicts = (
        should_prune(brief(pruner, key), running(ordinal, final, measured), tuple(others))
        for measured in range(1, LENGTH + 1)
    )
    return next((number for number, ended in enumerate(verdicts, 1) if ended), LENGTH)


@pytest.mark.parametrize("pruner", [Pruner.MEDIAN, Pruner.ASHA])
def test_a_clearly_bad_trial_ends_at_its_second_measurement(pruner: Pruner) -> None:
    assert ended_at(pruner, 5, 0.1, FIVE) == 2


def test_hyperband_ends_a_bad_trial_at_the_rung_where_its_bracket_begins() -> None:
    many = tuple(trial(ordinal, 0.5 + ordinal / 100) for ordinal in range(12))

    ends = {key: ended_at(Pruner.HYPERBAND, 12, 0.1, many, key) for key in map(str, range(12))}

    assert set(ends.values()) == {2, 4, LENGTH}
    assert ends == {key: ended_at(Pruner.HYPERBAND, 12, 0.1, many, key) for key in ends}


@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_best_trial_never_ends(pruner: Pruner) -> None:
    for key in "abcdef":
        assert ended_at(pruner, 5, 0.7, FIVE, key) == LENGTH


@pytest.mark.parametrize("pruner", PRUNERS)
def test_equal_trials_never_end(pruner: Pruner) -> None:
    for key in "abcdef":
        assert ended_at(pruner, 5, 0.5, [trial(ordinal, 0.5) for ordinal in range(5)], key) == LENGTH


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("origin", [TrialOrigin.ENQUEUED, TrialOrigin.INCUMBENT])
def test_start_points_and_the_incumbents_rerun_never_end(pruner: Pruner, origin: TrialOrigin) -> None:
    for measured in range(1, LENGTH):
        for key in "abcdef":
            assert not should_prune(brief(pruner, key), running(5, 0.1, measured, origin), FIVE)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_too_few_others_end_nobody(pruner: Pruner) -> None:
    three = FIVE[:3]
    at_the_start = tuple(running(ordinal, 0.6, 1) for ordinal in (3, 4))

    for others in ((), three, three + at_the_start):
        for key in "abcdef":
            assert ended_at(pruner, 5, 0.1, others, key) == LENGTH


@pytest.mark.parametrize("pruner", PRUNERS)
def test_nobody_ends_before_a_whole_training_is_known(pruner: Pruner) -> None:
    others = tuple(running(ordinal, 0.6, 5) for ordinal in range(6))

    assert ended_at(pruner, 6, 0.1, others) == LENGTH


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_training_of_one_or_two_measurements_is_never_ended(pruner: Pruner) -> None:
    for length in (1, 2):
        others = tuple(trial(ordinal, 0.6, length) for ordinal in range(6))
        assert not should_prune(brief(pruner), running(6, 0.1, length), others)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_first_measurement_and_none_end_nobody(pruner: Pruner) -> None:
    for measured in (0, 1):
        assert not should_prune(brief(pruner), running(5, 0.1, measured), FIVE)


def test_without_a_pruner_nobody_ends() -> None:
    assert ended_at(Pruner.NONE, 5, 0.1, FIVE) == LENGTH


@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_order_of_rows_and_measurements_changes_no_verdict(pruner: Pruner) -> None:
    others = (*FIVE, running(5, 0.4, 3), trial(7, 0.3, 2, TrialState.PRUNED), trial(9, 0.1, 1, TrialState.FAILED))
    shuffled = tuple(
        MeasuredTrial(one.ordinal, one.origin, one.state, tuple(reversed(one.reports))) for one in reversed(others)
    )
    for final in (0.3, 0.45, 0.57, 0.61):
        for measured in range(1, LENGTH):
            asked = running(8, final, measured)
            verdict = should_prune(brief(pruner), asked, others)
            assert should_prune(brief(pruner), asked, others) == verdict
            assert should_prune(brief(pruner), asked, shuffled) == verdict


def test_asha_keeps_the_better_half_at_every_rung() -> None:
    assert [ended_at(Pruner.ASHA, 5, final, FIVE) for final in (0.52, 0.57, 0.59, 0.63)] == [2, 2, LENGTH, LENGTH]

    late = MeasuredTrial(5, TrialOrigin.MODEL, TrialState.RUNNING, (*curve(0.7, 3), (STEPS[3], 0.1)))
    assert should_prune(brief(Pruner.ASHA), late, FIVE)


def test_asha_compares_with_pruned_and_running_trials_at_their_rungs() -> None:
    others = (
        trial(0, 0.5),
        *(trial(ordinal, 0.7, 2, TrialState.PRUNED) for ordinal in range(1, 4)),
        running(4, 0.7, 3),
    )

    assert ended_at(Pruner.ASHA, 5, 0.6, others) == 2
    assert ended_at(Pruner.MEDIAN, 5, 0.1, others) == LENGTH  # of one complete trial


def test_median_forgives_a_dip_after_a_good_measurement() -> None:
    dipped = MeasuredTrial(5, TrialOrigin.MODEL, TrialState.RUNNING, ((STEPS[0], 0.6), (STEPS[1], 0.1)))

    assert not should_prune(brief(Pruner.MEDIAN), dipped, FIVE)


def test_a_resumed_trial_without_its_first_measurements_stands_at_the_same_step() -> None:
    resumed = MeasuredTrial(5, TrialOrigin.MODEL, TrialState.RUNNING, ((STEPS[1], 0.1),))

    assert should_prune(brief(Pruner.MEDIAN), resumed, FIVE)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_diverged_trial_is_a_complete_one_that_ends_early(pruner: Pruner) -> None:
    diverged = tuple(trial(ordinal, 0.1, 1) for ordinal in (5, 6))

    assert [ended_at(pruner, 7, 0.7, (*FIVE, *diverged), key) for key in "abc"] == [LENGTH] * 3
    assert not should_prune(brief(pruner), running(7, 0.1, 2), (*FIVE[:3], *diverged))
