import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from math import exp, log, log10
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from optuna.samplers import GPSampler

from service.domain.space import (
    DEFAULT_SPACE,
    EXPONENTIAL_SPACE,
    Interval,
    PastTrial,
    Point,
    SearchBrief,
    Space,
    Suggestion,
)
from service.domain.states import Sampler, TrialOrigin, TrialState
from service.tuning.suggest import blind, suggest

ROOT = Path(__file__).parents[3]
INITIAL = Point(1e-3, 1e-4)
START = (
    Suggestion(Point(1e-2, 1e-3), TrialOrigin.INCUMBENT),
    Suggestion(Point(3e-2, 5e-4), TrialOrigin.ENQUEUED),
)


def brief(sampler: Sampler = Sampler.AUTO, *, key: str = "key", trials: int = 12, **fields: object) -> SearchBrief:
    made = SearchBrief(key=key, sampler=sampler, space=DEFAULT_SPACE, trials=trials, start_points=(), initial=INITIAL)
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def accuracy(point: Point) -> float:
    """Quadratic in the logarithms, best at 0.02 and 3e-4."""
    return 0.8 - 0.1 * (log10(point.learning_rate / 0.02) ** 2 + 0.3 * log10(point.regularization / 3e-4) ** 2)


def run(brief: SearchBrief, value: Callable[[Point], float] = accuracy) -> list[PastTrial]:
    """The whole search, one trial after the other."""
    past: list[PastTrial] = []
    for ordinal in range(brief.trials):
        drawn = suggest(brief, tuple(past), ordinal)
        past.append(PastTrial(ordinal, drawn.point, drawn.origin, TrialState.COMPLETE, value(drawn.point)))
    return past


def running(trial: PastTrial) -> PastTrial:
    return dataclasses.replace(trial, state=TrialState.RUNNING, value=None)


def origins(trials: Sequence[PastTrial]) -> list[TrialOrigin]:
    return [trial.origin for trial in trials]


def test_start_points_then_sobol_points_then_the_model() -> None:
    trials = run(brief(start_points=START, trials=8))

    assert [Suggestion(trial.point, trial.origin) for trial in trials[:2]] == list(START)
    assert origins(trials[2:]) == [TrialOrigin.SOBOL] * 4 + [TrialOrigin.MODEL] * 2


@pytest.mark.parametrize(("start", "sobol"), [(0, 5), (1, 5), (2, 4)])
def test_five_or_six_points_come_before_the_model(start: int, sobol: int) -> None:
    searched = brief(start_points=START[:start])

    assert origins(run(searched)).count(TrialOrigin.SOBOL) == sobol
    assert blind(searched) == start + sobol


def test_a_small_budget_ends_before_the_model() -> None:
    assert blind(brief(trials=3)) == 3
    assert origins(run(brief(trials=3))) == [TrialOrigin.SOBOL] * 3


def test_samplers_without_a_model_learn_from_nothing() -> None:
    for sampler in (Sampler.SOBOL, Sampler.RANDOM, Sampler.RANDOM_EXPONENTIAL):
        assert blind(brief(sampler, trials=12)) == 12


def test_first_sobol_points_cover_all_quarters_of_the_space() -> None:
    middle = [
        exp((log(axis.low) + log(axis.high)) / 2)
        for axis in (DEFAULT_SPACE.learning_rate, DEFAULT_SPACE.regularization)
    ]
    for key in ("a", "b", "c"):
        points = [trial.point for trial in run(brief(Sampler.SOBOL, key=key, trials=4))]
        assert len({(p.learning_rate > middle[0], p.regularization > middle[1]) for p in points}) == 4


@pytest.mark.parametrize("sampler", [s for s in Sampler if s is not Sampler.RANDOM_EXPONENTIAL])
@pytest.mark.parametrize("space", [DEFAULT_SPACE, Space(Interval(0.1, 0.1001), Interval(1e-8, 1.0))])
def test_suggestions_stay_in_the_space_and_never_repeat(sampler: Sampler, space: Space) -> None:
    trials = run(brief(sampler, trials=14, space=space))

    assert all(space.holds(trial.point) for trial in trials)
    assert len({trial.point for trial in trials}) == 14


@pytest.mark.parametrize("sampler", Sampler)
def test_the_same_inputs_give_the_same_point(sampler: Sampler) -> None:
    searched = brief(sampler, trials=9, start_points=START)

    trials = run(searched)

    assert run(searched) == trials
    assert suggest(searched, tuple(reversed(trials[:8])), 8).point == trials[8].point
    assert suggest(dataclasses.replace(searched, key="other"), tuple(trials[:8]), 8).point != trials[8].point


def test_pending_trials_turn_the_model_away_from_their_place() -> None:
    for sampler in (Sampler.GP, Sampler.TPE):
        searched = brief(sampler, trials=20)
        past = tuple(run(searched)[:10])
        alone = suggest(searched, past, 11)
        pending = PastTrial(10, alone.point, alone.origin, TrialState.RUNNING, None)

        assert suggest(searched, (*past, pending), 11).point != alone.point


@pytest.mark.parametrize("sampler", [Sampler.GP, Sampler.TPE, Sampler.CMAES])
def test_sobol_points_go_on_while_hardly_anything_has_finished(sampler: Sampler) -> None:
    searched = brief(sampler, trials=12)
    first = run(searched)[:6]
    past = tuple(running(trial) if trial.ordinal > 1 else trial for trial in first)

    assert suggest(searched, past, 6).origin is TrialOrigin.SOBOL
    assert suggest(searched, tuple(first), 6).origin is TrialOrigin.MODEL


@pytest.mark.parametrize("sampler", [Sampler.AUTO, Sampler.TPE, Sampler.CMAES])
def test_a_pruned_trial_teaches_its_value_and_a_failed_one_nothing(sampler: Sampler) -> None:
    searched = brief(sampler, trials=11)
    complete = tuple(run(searched))  # CMA-ES learns from six trials of its own at once: this is the sixth
    last = complete[-1]

    def after(state: TrialState, value: float | None) -> Suggestion:
        return suggest(searched, (*complete[:-1], dataclasses.replace(last, state=state, value=value)), 11)

    assert after(TrialState.PRUNED, last.value) == after(TrialState.COMPLETE, last.value)
    assert after(TrialState.FAILED, None) == after(TrialState.CANCELLED, None)
    assert after(TrialState.FAILED, None) != after(TrialState.COMPLETE, last.value)


@pytest.mark.parametrize("sampler", [Sampler.GP, Sampler.TPE, Sampler.CMAES])
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_a_flat_history_is_no_error(sampler: Sampler, value: float) -> None:
    trials = run(brief(sampler, trials=12), value=lambda _: value)

    assert len({trial.point for trial in trials}) == 12


def test_tpe_takes_over_when_the_gaussian_process_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    past = tuple(run(brief(trials=7)))
    tpe = suggest(brief(Sampler.TPE), past, 7)

    def fail(*_: object) -> None:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(GPSampler, "sample_relative", fail)

    assert suggest(brief(Sampler.GP), past, 7) == tpe
    assert "not positive definite" in caplog.text


def test_auto_is_a_gaussian_process_up_to_fifty_trials() -> None:
    past = tuple(run(brief(Sampler.RANDOM, trials=51)))

    def point(sampler: Sampler, ordinal: int) -> Point:
        return suggest(brief(sampler, trials=100), past[:ordinal], ordinal).point

    assert point(Sampler.AUTO, 49) == point(Sampler.GP, 49)
    assert point(Sampler.AUTO, 50) == point(Sampler.TPE, 50)


def test_random_exponential_search_is_the_papers() -> None:
    searched = brief(Sampler.RANDOM_EXPONENTIAL, trials=400, space=EXPONENTIAL_SPACE)
    past: list[PastTrial] = []
    for ordinal in range(searched.trials):
        drawn = suggest(searched, (), ordinal)
        past.append(PastTrial(ordinal, drawn.point, drawn.origin, TrialState.COMPLETE, 0.5))
    exponents = np.array(
        [
            (
                log10(trial.point.learning_rate / INITIAL.learning_rate),
                log10(trial.point.regularization / INITIAL.regularization),
            )
            for trial in past[1:]
        ]
    )

    assert past[0].point == INITIAL
    assert all(EXPONENTIAL_SPACE.holds(trial.point) for trial in past)
    assert np.abs(exponents.mean(axis=0)).max() < 0.15
    assert np.abs(exponents.std(axis=0) - 1).max() < 0.15
    assert abs(np.corrcoef(exponents.T)[0, 1]) < 0.15


def test_random_exponential_search_keeps_to_a_space_of_its_own() -> None:
    trials = run(brief(Sampler.RANDOM_EXPONENTIAL, trials=30))

    assert all(DEFAULT_SPACE.holds(trial.point) for trial in trials)
    assert len({trial.point for trial in trials}) == 30


def test_random_exponential_search_starts_at_the_earlier_phases_incumbent() -> None:
    first = suggest(brief(Sampler.RANDOM_EXPONENTIAL, start_points=START[:1]), (), 0)

    assert first == START[0]


def test_models_beat_random_search() -> None:
    def best(sampler: Sampler) -> float:
        searches = (run(brief(sampler, key=f"seed {seed}", trials=16)) for seed in range(5))
        return median(max(accuracy(trial.point) for trial in trials) for trials in searches)

    random = best(Sampler.RANDOM)

    for sampler in (Sampler.GP, Sampler.TPE, Sampler.CMAES):
        assert best(sampler) > random


SCRIPT = """
import json, sys
from service.domain.space import DEFAULT_SPACE, PastTrial, Point, SearchBrief
from service.domain.states import Sampler, TrialOrigin, TrialState
from service.tuning.suggest import suggest
points = []
for sampler in Sampler:
    brief = SearchBrief("key", sampler, DEFAULT_SPACE, 8, (), Point(1e-3, 1e-4))
    past = []
    for ordinal in range(8):
        drawn = suggest(brief, tuple(past), ordinal)
        past.append(PastTrial(ordinal, drawn.point, drawn.origin, TrialState.COMPLETE, 0.1 * (ordinal % 4)))
        points.append([drawn.point.learning_rate, drawn.point.regularization])
json.dump(points, sys.stdout)
"""


def _in_process(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_processes_with_other_hashes_and_other_threads_draw_the_same() -> None:
    first = _in_process("1")
    assert json.loads(first)
    assert _in_process("2") == first

    alone = run(brief(trials=8))
    drawn: list[list[PastTrial]] = []
    threads = [threading.Thread(target=lambda: drawn.append(run(brief(trials=8)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drawn == [alone] * 3
