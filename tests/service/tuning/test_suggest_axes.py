from math import log10
from statistics import median

import pytest

from service.domain.schemes import fill, widen
from service.domain.space import DEFAULT_SPACE, Interval, PastTrial, Point, SearchBrief, Space, Suggestion
from service.domain.states import Sampler, TrialOrigin, TrialState
from service.tuning.suggest import blind, suggest

INITIAL = Point(1e-3, 1e-4)
START = (
    Suggestion(Point(1e-2, 1e-3), TrialOrigin.INCUMBENT),
    Suggestion(Point(3e-2, 5e-4), TrialOrigin.ENQUEUED),
)
# Drawn before spaces could have more than two axes: trials 2, 5, 8 and 13 of a search.
RECORDED = {
    Sampler.TPE: (
        (0.00016677022353893368, 3.073458606674922e-06),
        (0.0022454202746427154, 0.0010654693643334047),
        (0.0016638396377664808, 2.428087632160374e-05),
        (0.03205501184929984, 0.000151438413068077),
    ),
    Sampler.CMAES: (
        (0.00016677022353893368, 3.073458606674922e-06),
        (0.0022454202746427154, 0.0010654693643334047),
        (0.0019441083243171443, 0.00026271215045340274),
        (0.02389186956370954, 0.00011691082729375769),
    ),
    Sampler.SOBOL: (
        (0.00016677022353893368, 3.073458606674922e-06),
        (0.0022454202746427154, 0.0010654693643334047),
        (0.15290537512308883, 9.031699225382073e-06),
        (0.001256264641782758, 0.037988465133643616),
    ),
    Sampler.RANDOM: (
        (0.00015891337209565092, 1.756316026623326e-05),
        (0.0023964911108423277, 1.8974149606048468e-06),
        (0.00033776553073626463, 0.006419184500139984),
        (0.006912249496060813, 4.058639297721758e-06),
    ),
    Sampler.RANDOM_EXPONENTIAL: (
        (0.0038337677378582277, 1.5884301561106249e-06),
        (0.00016255545677490912, 1.892111955511644e-05),
        (0.0019935607905025193, 0.00016608528660674821),
        (0.00261240252689719, 0.009372331492211606),
    ),
}


def space(axes: int) -> Space:
    """The default space with ``axes`` axes, two more for every layer."""
    more = [
        (f"{name}_{layer}", axis)
        for layer in range(1, axes // 2)
        for name, axis in (("learning_rate", Interval(1e-4, 0.2)), ("regularization", Interval(1e-6, 0.1)))
    ]
    return Space(DEFAULT_SPACE.learning_rate, DEFAULT_SPACE.regularization, tuple(more))


def brief(
    sampler: Sampler, space: Space, trials: int = 14, start: tuple[Suggestion, ...] = (), key: str = "key"
) -> SearchBrief:
    return SearchBrief(key, sampler, space, trials, start, INITIAL)


def accuracy(point: Point) -> float:
    """Best at 0.02 and 3e-4, whatever the layer."""
    away = [log10(value / (0.02 if "rate" in name else 3e-4)) ** 2 for name, value in point.values.items()]
    return max(0.1, 0.8 - 0.2 * sum(away) / len(away))


def run(searched: SearchBrief) -> list[PastTrial]:
    past: list[PastTrial] = []
    for ordinal in range(searched.trials):
        drawn = suggest(searched, tuple(past), ordinal)
        value = accuracy(drawn.point)
        past.append(PastTrial(ordinal, drawn.point, drawn.origin, TrialState.COMPLETE, value))
    return past


def recorded_accuracy(point: Point) -> float:
    return 0.8 - 0.1 * (log10(point.learning_rate / 0.02) ** 2 + 0.3 * log10(point.regularization / 3e-4) ** 2)


@pytest.mark.parametrize("sampler", RECORDED)
def test_two_axes_draw_what_they_always_drew(sampler: Sampler) -> None:
    start = () if sampler is Sampler.RANDOM_EXPONENTIAL else START
    searched = brief(sampler, DEFAULT_SPACE, start=start)
    past: list[PastTrial] = []
    for ordinal in range(searched.trials):
        drawn = suggest(searched, tuple(past), ordinal)
        value = round(recorded_accuracy(drawn.point), 4)
        past.append(PastTrial(ordinal, drawn.point, drawn.origin, TrialState.COMPLETE, value))

    drawn_points = [(past[i].point.learning_rate, past[i].point.regularization) for i in (2, 5, 8, 13)]
    # The last bits of a logarithm are the C library's own.
    assert drawn_points == [pytest.approx(point, rel=1e-12) for point in RECORDED[sampler]]


@pytest.mark.parametrize("sampler", [Sampler.GP, Sampler.TPE, Sampler.CMAES, Sampler.SOBOL, Sampler.RANDOM])
@pytest.mark.parametrize("axes", [4, 14])
def test_suggestions_have_all_axes_stay_inside_and_repeat_nothing(sampler: Sampler, axes: int) -> None:
    searched = brief(sampler, space(axes))

    trials = run(searched)

    assert all(list(trial.point.values) == list(searched.space.axes) for trial in trials)
    assert all(searched.space.holds(trial.point) for trial in trials)
    assert len({trial.point for trial in trials}) == len(trials)
    assert suggest(searched, tuple(reversed(trials[:13])), 13).point == trials[13].point


def test_axes_are_drawn_independently() -> None:
    for sampler in (Sampler.SOBOL, Sampler.RANDOM):
        point = suggest(brief(sampler, space(14)), (), 0).point
        assert len(set(point.values.values())) == 14


@pytest.mark.parametrize(
    ("axes", "trials", "start", "expected"),
    [
        (2, 100, 0, 5),  # two axes wait for nothing more
        (4, 100, 0, 6),  # one for every two axes more
        (14, 100, 0, 11),
        (14, 22, 0, 11),
        (14, 22, 2, 11),  # start points count
        (14, 11, 0, 5),  # half of the trials stay the model's
        (14, 11, 2, 6),
        (66, 40, 1, 20),
        (14, 3, 0, 3),
    ],
)
def test_the_model_of_more_axes_waits_for_more_points(axes: int, trials: int, start: int, expected: int) -> None:
    points = tuple(Suggestion(fill(one.point, space(axes).axes), one.origin) for one in START[:start])
    searched = brief(Sampler.TPE, space(axes), trials, points)

    assert blind(searched) == expected
    if trials < 50:
        origins = [trial.origin for trial in run(searched)]
        assert origins.count(TrialOrigin.SOBOL) == expected - start
        assert origins[expected:] == [TrialOrigin.MODEL] * (trials - expected)


def test_sobol_points_of_many_axes_go_on_until_enough_has_finished() -> None:
    searched = brief(Sampler.TPE, space(14), 22)
    trials = run(searched)[:12]

    def after(finished: int) -> TrialOrigin:
        running = [PastTrial(t.ordinal, t.point, t.origin, TrialState.RUNNING, None) for t in trials[finished:]]
        return suggest(searched, (*trials[:finished], *running), 12).origin

    assert after(8) is TrialOrigin.SOBOL
    assert after(9) is TrialOrigin.MODEL


# CMA-ES needs generations of nine.
@pytest.mark.parametrize(("sampler", "trials"), [(Sampler.GP, 20), (Sampler.TPE, 20), (Sampler.CMAES, 60)])
def test_models_of_many_axes_beat_random_search(sampler: Sampler, trials: int) -> None:
    def best(sampler: Sampler) -> float:
        searches = [run(brief(sampler, space(6), trials, key=f"seed {seed}")) for seed in range(3)]
        return median(max(trial.value or 0 for trial in trials) for trials in searches)

    assert best(sampler) > best(Sampler.RANDOM)


@pytest.mark.parametrize("sampler", [Sampler.GP, Sampler.TPE, Sampler.CMAES])
def test_a_widened_space_learns_from_the_points_of_the_first_round(sampler: Sampler) -> None:
    narrow = Space(Interval(1e-4, 1e-3), Interval(1e-6, 1e-5))
    first = run(brief(sampler, narrow, 8))
    wide = brief(sampler, widen(narrow), 14)

    drawn = suggest(wide, tuple(first), 8)

    assert drawn.origin is TrialOrigin.MODEL
    assert wide.space.holds(drawn.point)
    best = max(first[:5], key=lambda trial: trial.value or 0)
    assert drawn != suggest(wide, tuple(trial for trial in first if trial is not best), 8)


def test_a_narrowed_space_learns_from_the_points_it_still_holds() -> None:
    trials = run(brief(Sampler.TPE, DEFAULT_SPACE, 10))
    narrow = Space(Interval(1e-3, 0.2), DEFAULT_SPACE.regularization)
    inside = [trial for trial in trials if narrow.holds(trial.point)]
    assert 3 <= len(inside) < len(trials)

    drawn = suggest(brief(Sampler.TPE, narrow), tuple(trials), 10)

    assert drawn == suggest(brief(Sampler.TPE, narrow), tuple(inside), 10)
    assert drawn.origin is TrialOrigin.MODEL
