"""Whether a running trial is to end early: one of Optuna's pruners, asked on an in-memory study rebuilt from our rows.

Nothing is remembered between calls: the same rows give the same answer, on another server or in a replay too.
"""

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.study import Study
from optuna.trial import Trial
from optuna.trial import TrialState as OptunaState

from service.domain.pruning import MeasuredTrial, PruningBrief
from service.domain.states import Pruner, TrialOrigin, TrialState

FIRST_STEP = 2  # measurements of a trial before it can be ended: the first is too early to tell
COMPANY = 4  # others measured as far, below which a trial is not compared
KEPT = 2  # asha and hyperband let every second trial go on at a rung; more would leave a search of eleven trials three
STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.CANCELLED: OptunaState.FAIL,
}


def should_prune(brief: PruningBrief, trial: MeasuredTrial, others: tuple[MeasuredTrial, ...]) -> bool:
    """Judge a trial by its last measurement; implements ``domain.pruning.ShouldPrune``.

    Steps are measurements by number, counted over the search: the second of any trial is step 2. For searches of 6 to
    20 trials: no trial ends before step 2, before four others were measured at its step, or at the end of its training,
    where the furthest complete trial stands; start points never do. ``median`` ends a trial whose best accuracy is
    below the median of the complete ones at its step, from four of them on; ``asha`` keeps the better half at steps 2,
    4, 8 and so on; ``hyperband`` begins with that at step 2, 4 or 8, by the trial's bracket.
    """
    if brief.pruner is Pruner.NONE or trial.origin in (TrialOrigin.ENQUEUED, TrialOrigin.INCUMBENT):
        return False
    numbers = _numbers((trial, *others))
    step, length = _furthest(trial, numbers), _length(others, numbers)
    company = sum(_furthest(other, numbers) >= step for other in others)
    if not FIRST_STEP <= step < length or company < COMPANY:
        return False
    # Hyperband draws a trial's bracket from the name of the study and the number of the trial.
    study = optuna.create_study(study_name=brief.key, direction="maximize", pruner=_pruner(brief.pruner, length))
    by_ordinal = {one.ordinal: one for one in others}
    last = max(trial.ordinal, *by_ordinal)
    asked = [study.ask() for _ in range(last + 1)]
    for ordinal, other in sorted(by_ordinal.items()):
        _replay(asked[ordinal], other, numbers)
        if other.state is not TrialState.RUNNING:
            _end(study, asked[ordinal], other)
    return _replay(asked[trial.ordinal], trial, numbers)


def _pruner(pruner: Pruner, length: int) -> BasePruner:
    match pruner:
        case Pruner.MEDIAN:
            return MedianPruner(n_startup_trials=COMPANY, n_warmup_steps=FIRST_STEP, n_min_trials=COMPANY)
        case Pruner.ASHA:
            return SuccessiveHalvingPruner(min_resource=FIRST_STEP, reduction_factor=KEPT)
        case _:
            return HyperbandPruner(min_resource=FIRST_STEP, max_resource=length, reduction_factor=KEPT)


def _numbers(trials: tuple[MeasuredTrial, ...]) -> dict[int, int]:
    """Optimiser steps to numbers of measurements, from 1 on."""
    steps = {step for trial in trials for step, _ in trial.reports}
    return {step: number for number, step in enumerate(sorted(steps), 1)}


def _furthest(trial: MeasuredTrial, numbers: dict[int, int]) -> int:
    return max((numbers[step] for step, _ in trial.reports), default=0)


def _length(others: tuple[MeasuredTrial, ...], numbers: dict[int, int]) -> int:
    """How many measurements a whole training has; 0 as long as nobody has come to its end."""
    return max((_furthest(other, numbers) for other in others if other.state is TrialState.COMPLETE), default=0)


def _replay(asked: Trial, trial: MeasuredTrial, numbers: dict[int, int]) -> bool:
    """Report what was measured, as it happened, and return the verdict on the last of it.

    A pruner keeps the accuracy at which a trial came to a rung when it is asked there, whatever it answers.
    """
    verdict = False
    for step, value in sorted(trial.reports):
        asked.report(value, numbers[step])
        verdict = asked.should_prune()
    return verdict


def _end(study: Study, asked: Trial, trial: MeasuredTrial) -> None:
    """Tell a trial's end; pruners look at what it reported, not at its value."""
    state = STATES[trial.state]
    value = max(trial.reports, default=(0, 0.0))[1]
    study.tell(asked, value if state is OptunaState.COMPLETE else None, state=state)
