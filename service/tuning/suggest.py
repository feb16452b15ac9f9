"""The next point of a stage search: start points, then Sobol points, then what an Optuna sampler makes of the past.

Nothing is remembered between calls. Every suggestion rebuilds an in-memory Optuna study from the past trials and seeds
its sampler by (search key, ordinal), so that a crash, another server or a replay gets the same point again.
"""

import logging
from collections.abc import Iterable
from hashlib import sha256
from math import exp, isfinite, log

import numpy as np
import optuna
from cmaes import CMA
from numpy.typing import ArrayLike, NDArray
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import create_trial
from scipy.stats import qmc
from threadpoolctl import threadpool_limits

from service.domain.space import Interval, PastTrial, Point, SearchBrief, Space, Suggestion
from service.domain.states import Sampler, TrialOrigin, TrialState
from service.tuning.distributions import distributions, parameters

logger = logging.getLogger(__name__)

GP_TRIALS = 50  # the sampler `auto` changes from GP to TPE here
MODEL_NEEDS = 3  # finished trials below which a model of two axes is worse than one more Sobol point
DISTINCT = 1e-9  # of the space's width; closer points are the same point
MODEL_DRAWS = 3  # an acquisition maximum in a corner of the space is drawn again with every seed
DRAWS = 100


def suggest(brief: SearchBrief, past: tuple[PastTrial, ...], ordinal: int) -> Suggestion:
    """Draw the suggestion with an ordinal; implements ``domain.space.Suggest``.

    Start points come as given. Any other point lies in the brief's space and repeats none of ``past``, unless the space
    is too narrow for that.
    """
    if ordinal < len(brief.start_points):
        return brief.start_points[ordinal]
    if brief.sampler is Sampler.RANDOM_EXPONENTIAL and ordinal == 0:
        return Suggestion(brief.initial, TrialOrigin.ENQUEUED)
    space = brief.space
    # Sorted, because the order in which rows come back must not change the draw.
    history = sorted((trial for trial in past if space.holds(trial.point)), key=lambda trial: trial.ordinal)
    taken = np.array([_to_unit(space, trial.point) for trial in history]).reshape(-1, len(space.axes))
    for draw in range(DRAWS):
        suggestion = _draw(brief, history, ordinal, draw)
        if not (np.abs(taken - _to_unit(space, suggestion.point)).max(axis=1) < DISTINCT).any():
            break
    return suggestion


def blind(brief: SearchBrief) -> int:
    """How many suggestions of the search, from ordinal 0 on, learn from no result: asking them early loses nothing."""
    if brief.sampler in (Sampler.SOBOL, Sampler.RANDOM, Sampler.RANDOM_EXPONENTIAL):
        return brief.trials
    return min(brief.trials, _before_the_model(brief) + _for_more_axes(brief))


def _before_the_model(brief: SearchBrief) -> int:
    """Start points and Sobol points of a search on two axes, five to six together as a rule.

    Optuna's default of ten random ones would make a search of eleven trials a random search.
    """
    return len(brief.start_points) + (5 if len(brief.start_points) < 2 else 4)


def _for_more_axes(brief: SearchBrief) -> int:
    """Sobol points that a model of more than two axes waits for beside: one for every two axes more.

    They never take more than half of the trials from it.
    """
    return max(0, min((len(brief.space.axes) - 2) // 2, brief.trials // 2 - _before_the_model(brief)))


def _draw(brief: SearchBrief, history: list[PastTrial], ordinal: int, draw: int) -> Suggestion:
    seed = _seed(brief.key, ordinal, draw)
    match brief.sampler:
        case Sampler.RANDOM_EXPONENTIAL:
            return Suggestion(_around(brief.space, brief.initial, seed), TrialOrigin.RANDOM)
        case Sampler.RANDOM:
            return Suggestion(_random(brief.space, seed), TrialOrigin.RANDOM)
    observed = [trial for trial in history if _is_observed(trial)]
    if brief.sampler is Sampler.SOBOL or ordinal < blind(brief) or len(observed) < MODEL_NEEDS + _for_more_axes(brief):
        index = ordinal - len(brief.start_points)
        return Suggestion(_sobol(brief.space, _seed(brief.key, "sobol", draw), index), TrialOrigin.SOBOL)
    if draw >= MODEL_DRAWS:
        return Suggestion(_random(brief.space, seed), TrialOrigin.RANDOM)
    pending = [trial for trial in history if trial.state is TrialState.RUNNING]
    known = sorted([*observed, *pending], key=lambda trial: trial.ordinal)
    return Suggestion(_model(brief, known, ordinal, seed), TrialOrigin.MODEL)


def _model(brief: SearchBrief, known: list[PastTrial], ordinal: int, seed: int) -> Point:
    if brief.sampler is Sampler.CMAES:
        return _cmaes(brief.space, known, seed)
    if brief.sampler is Sampler.GP or (brief.sampler is Sampler.AUTO and ordinal < GP_TRIALS):
        try:
            return _ask(GPSampler(seed=seed, n_startup_trials=0), brief.space, known)
        except (ArithmeticError, RuntimeError, ValueError) as error:
            logger.warning("the Gaussian process of search %s failed, TPE takes over: %s", brief.key, error)
    return _ask(TPESampler(seed=seed, n_startup_trials=0, multivariate=True, constant_liar=True), brief.space, known)


def _ask(sampler: BaseSampler, space: Space, known: Iterable[PastTrial]) -> Point:
    """Ask a sampler that reads all it needs from finished and running trials."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    axes = distributions(space)
    for trial in known:
        running = trial.state is TrialState.RUNNING
        study.add_trial(
            create_trial(
                # TPE and GP learn from COMPLETE trials only, so pruned ones enter at their last value.
                state=optuna.trial.TrialState.RUNNING if running else optuna.trial.TrialState.COMPLETE,
                value=None if running else trial.value,
                params=parameters(trial.point),
                distributions=axes,
            )
        )
    # The pools of OpenBLAS and OpenMP take each other's cores: on a busy machine a draw then lasts seconds, not 30 ms.
    with threadpool_limits(1):
        asked = study.ask(axes).params
    return _within(space, (asked[name] for name in axes))


def _cmaes(space: Space, known: Iterable[PastTrial], seed: int) -> Point:
    """Replay the search with the CMA-ES beneath Optuna's sampler, from the best point before the model, and ask it.

    Optuna's sampler keeps the state of CMA-ES as a pickle beside its trials and takes up no trials of others. Here the
    state is made anew from the points: they are told a generation at a time, and nothing is ever unpickled.
    """
    observed = [trial for trial in known if _is_observed(trial)]
    before = [trial for trial in observed if trial.origin is not TrialOrigin.MODEL]
    best = max(before or observed, key=_observation)
    bounds = np.array([[0, 1]] * len(space.axes))
    optimizer = CMA(_to_unit(space, best.point), sigma=1 / 6, bounds=bounds, seed=seed)
    asked = [(_to_unit(space, t.point), -_observation(t)) for t in observed if t.origin is TrialOrigin.MODEL]
    size = optimizer.population_size
    for start in range(0, len(asked) - size + 1, size):
        optimizer.tell(asked[start : start + size])
    return _from_unit(space, optimizer.ask())


def _sobol(space: Space, seed: int, index: int) -> Point:
    points = qmc.Sobol(d=len(space.axes), scramble=True, rng=seed)
    if index:
        points.fast_forward(index)
    return _from_unit(space, points.random(1)[0])


def _random(space: Space, seed: int) -> Point:
    return _from_unit(space, np.random.default_rng(seed).uniform(size=len(space.axes)))


def _around(space: Space, initial: Point, seed: int) -> Point:
    """The initial point x 10^N(0, 1), independently on both axes (paper, section 4.2).

    The paper's search has no bounds: unless the submission sets a space, the brief has the wide EXPONENTIAL_SPACE.
    """
    factors = 10.0 ** np.random.default_rng(seed).normal(size=2)
    return _within(space, (initial.learning_rate * factors[0], initial.regularization * factors[1]))


def _is_observed(trial: PastTrial) -> bool:
    learned = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return learned and trial.value is not None and isfinite(trial.value)


def _observation(trial: PastTrial) -> float:
    assert trial.value is not None
    return trial.value


def _to_unit(space: Space, point: Point) -> NDArray[np.float64]:
    """Where the point lies between the space's logarithmic ends, 0 to 1 on every axis."""
    values = point.values
    shares = [log(values[name] / axis.low) / log(axis.high / axis.low) for name, axis in space.axes.items()]
    return np.array(shares)


def _from_unit(space: Space, unit: ArrayLike) -> Point:
    shares = zip(space.axes.values(), np.asarray(unit, dtype=float), strict=True)
    return _within(space, (exp(log(axis.low) + share * log(axis.high / axis.low)) for axis, share in shares))


def _within(space: Space, values: Iterable[float]) -> Point:
    """The point with these coordinates, moved into the space: logarithms round beyond its ends."""
    return Point.of({name: _clip(axis, value) for (name, axis), value in zip(space.axes.items(), values, strict=True)})


def _clip(axis: Interval, value: float) -> float:
    return float(min(max(value, axis.low), axis.high))


def _seed(*parts: object) -> int:
    """32 bits of SHA-256, because ``hash`` differs between processes."""
    return int.from_bytes(sha256("\0".join(map(str, parts)).encode()).digest()[:4])
