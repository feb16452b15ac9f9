"""The life of a stage search: when it opens, what it tries first, and what it decides."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from statistics import fmean

from service.domain.experiment import SearchSettings
from service.domain.layers import Stage
from service.domain.schemes import fill, shown_space
from service.domain.space import Point, Space, Suggestion
from service.domain.states import Sampler, SearchState, TrialOrigin, TrialState
from service.domain.statistics import falls_short

CANDIDATES = 2
"""So many of the best trials are confirmed with other seeds."""


def opening(
    parent: SearchState | None, earlier: SearchState | None, matches: Iterable[SearchState] = ()
) -> SearchState:
    """WAITING, OPEN or DEAD: the state of a search that has not started, from those of the searches it waits for.

    A parent without incumbent leaves no prefix to stand on. An earlier search without one leaves only its start point
    out; ``matches``, however they end, have spent their seconds.
    """
    if parent in SearchState.fruitless():
        return SearchState.DEAD
    if parent not in (None, SearchState.DECIDED):
        return SearchState.WAITING
    others = [*matches] if earlier is None else [earlier, *matches]
    return SearchState.OPEN if all(state in SearchState.ended() for state in others) else SearchState.WAITING


def taken_over(reused: bool, decided_at: datetime | None, submitted_at: datetime) -> bool:
    """Whether an experiment that found the search in place found it decided; what was under way it only shares."""
    return reused and decided_at is not None and decided_at <= submitted_at


def hand_picked(settings: SearchSettings) -> tuple[Point, ...]:
    """The points of a submission that a search is to try: where random exponential search starts, or those enqueued."""
    return (settings.initial,) if settings.sampler is Sampler.RANDOM_EXPONENTIAL else settings.enqueue


def start_points(
    settings: SearchSettings,
    stage: Stage,
    space: Space,
    trials: int,
    earlier: Point | None = None,
    ancestors: Iterable[Point] = (),
) -> tuple[Suggestion, ...]:
    """The first trials of a search by ordinal, on the axes of its ``space``, none twice and no more than ``trials``.

    First the incumbent of the earlier phase's search of the same stage, then the points the submission enqueues, even
    where a range test has bounded the space below them, then the incumbents of the plan's ancestors from the root on
    that lie inside it. Random exponential search has one: the earlier phase's incumbent or the initial point (paper,
    section 4.2).
    """
    incumbent = [] if earlier is None else [Suggestion(fill(earlier, space.axes), TrialOrigin.INCUMBENT)]
    picked = hand_picked(settings)
    if settings.sampler is Sampler.RANDOM_EXPONENTIAL:
        return tuple(incumbent or [Suggestion(point, TrialOrigin.ENQUEUED) for point in picked])
    widest = shown_space(settings, stage)
    enqueued, inherited = (
        (fill(point, space.axes) for point in picked),
        (fill(point, space.axes) for point in ancestors),
    )
    wanted = [
        *(suggestion for suggestion in incumbent if widest.holds(suggestion.point)),
        *(Suggestion(point, TrialOrigin.ENQUEUED) for point in enqueued if widest.holds(point)),
        *(Suggestion(point, TrialOrigin.INCUMBENT) for point in inherited if space.holds(point)),
    ]
    first: dict[Point, Suggestion] = {}
    for suggestion in wanted:
        first.setdefault(suggestion.point, suggestion)
    return tuple(first.values())[:trials]


@dataclass(frozen=True, slots=True)
class TrialSummary:
    """What a decision looks at: ``accuracy`` is the validation accuracy at the end of the training."""

    ordinal: int
    state: TrialState
    accuracy: float | None
    diverged: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an open search is.

    ``spent``: the seconds it may spend are used up. ``second_round`` are the trials of a round that it may still have,
    ``prefix_accuracy`` is what its prefix reached on ``images`` validation images. ``seeds`` are those that confirm the
    best trials, ``confirmed`` what came of it by ordinal and seed: an accuracy, or None where the training failed.
    """

    trials: Sequence[TrialSummary]
    budget: int
    spent: bool = False
    second_round: int = 0
    prefix_accuracy: float | None = None
    images: int = 1
    seeds: tuple[int, ...] = ()
    confirmed: Mapping[tuple[int, int], float | None] = field(default_factory=dict)


def judged_by(accuracy: float, again: Iterable[float | None]) -> float:
    """What a trial is worth: the mean of its own accuracy and of those that it reached with other seeds."""
    return fmean([accuracy, *(other for other in again if other is not None)])


class Step(StrEnum):
    """What becomes of an open search."""

    OPEN = "open"
    SECOND_ROUND = "second-round"
    CONFIRM = "confirm"
    DECIDED = "decided"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Decision:
    """OPEN while trials are missing, CONFIRM with the candidates' ordinals, DECIDED with the incumbent's."""

    step: Step
    incumbent: int | None = None
    candidates: tuple[int, ...] = ()


def decide(progress: Progress) -> Decision:
    """Decide a search once all trials it was given have finished and it gets no more."""
    finished = sum(trial.state in TrialState.finished() for trial in progress.trials)
    if finished < len(progress.trials) or finished < (1 if progress.spent else progress.budget):
        return Decision(Step.OPEN)
    best = _ranked(progress.trials)[:CANDIDATES]
    if not best:
        diverged = any(trial.diverged for trial in progress.trials)
        return Decision(Step.SECOND_ROUND if progress.second_round and diverged else Step.DEAD)
    chosen = best[0]
    if progress.seeds and len(best) > 1:
        if any((trial.ordinal, seed) not in progress.confirmed for trial in best for seed in progress.seeds):
            return Decision(Step.CONFIRM, candidates=tuple(trial.ordinal for trial in best))
        chosen = _confirmed(best, progress)
    if progress.second_round and _stagnates(chosen, progress):
        return Decision(Step.SECOND_ROUND)
    return Decision(Step.DECIDED, chosen.ordinal)


def _ranked(trials: Iterable[TrialSummary]) -> list[TrialSummary]:
    """The trials that may be frozen, best first."""
    eligible = [trial for trial in trials if trial.state is TrialState.COMPLETE and not trial.diverged]
    return sorted(eligible, key=lambda trial: (-_accuracy(trial), trial.ordinal))


def _stagnates(chosen: TrialSummary, progress: Progress) -> bool:
    """Whether the stage is worse than its prefix by more than the noise, both by what they are judged by."""
    if progress.prefix_accuracy is None:
        return False
    again = (progress.confirmed.get((chosen.ordinal, seed)) for seed in progress.seeds)
    return falls_short(judged_by(_accuracy(chosen), again), progress.prefix_accuracy, progress.images)


def _confirmed(best: Sequence[TrialSummary], progress: Progress) -> TrialSummary:
    """The candidate with the highest mean over the seeds on which all candidates were trained."""
    common = [
        seed for seed in progress.seeds if all(progress.confirmed[trial.ordinal, seed] is not None for trial in best)
    ]

    def mean(trial: TrialSummary) -> float:
        return judged_by(_accuracy(trial), (progress.confirmed[trial.ordinal, seed] for seed in common))

    return max(best, key=lambda trial: (mean(trial), -trial.ordinal))


def _accuracy(trial: TrialSummary) -> float:
    assert trial.accuracy is not None
    return trial.accuracy
