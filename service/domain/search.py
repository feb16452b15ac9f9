"""The life of a stage search: when it opens, what it tries first, and what it decides."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.domain.experiment import SearchSettings
from service.domain.space import Point, Suggestion
from service.domain.states import Sampler, SearchState, TrialOrigin, TrialState


def opening(parent: SearchState | None, earlier: SearchState | None) -> SearchState:
    """WAITING, OPEN or DEAD: the state of a search that has not started, from those of its parent and earlier search.

    A dead parent leaves no prefix to stand on. A dead search of the earlier phase leaves only its start point out.
    """
    if parent in (SearchState.DEAD, SearchState.CANCELLED):
        return SearchState.DEAD
    if parent not in (None, SearchState.DECIDED):
        return SearchState.WAITING
    if earlier is None or earlier in SearchState.ended():
        return SearchState.OPEN
    return SearchState.WAITING


def start_points(
    settings: SearchSettings, trials: int, earlier: Point | None = None, ancestors: Iterable[Point] = ()
) -> tuple[Suggestion, ...]:
    """The first trials of a search by ordinal, none twice and no more than ``trials``.

    First the incumbent of the earlier phase's search of the same stage, then the points the submission enqueues, then
    the incumbents of the plan's ancestors from the root on. Random exponential search has one: the earlier phase's
    incumbent or the initial point (paper, section 4.2).
    """
    incumbent = [] if earlier is None else [Suggestion(earlier, TrialOrigin.INCUMBENT)]
    if settings.sampler is Sampler.RANDOM_EXPONENTIAL:
        return tuple(incumbent or [Suggestion(settings.initial, TrialOrigin.ENQUEUED)])
    wanted = [
        *incumbent,
        *(Suggestion(point, TrialOrigin.ENQUEUED) for point in settings.enqueue),
        *(Suggestion(point, TrialOrigin.INCUMBENT) for point in ancestors),
    ]
    first: dict[Point, Suggestion] = {}
    for suggestion in wanted:
        if settings.space.holds(suggestion.point):
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
class Decision:
    """OPEN while trials are missing, else DECIDED with the incumbent's ordinal, or DEAD without any."""

    state: SearchState
    incumbent: int | None = None


def decide(trials: Sequence[TrialSummary], budget: int) -> Decision:
    """Decide a search on its finished trials once there are ``budget`` of them."""
    if sum(trial.state in TrialState.finished() for trial in trials) < budget:
        return Decision(SearchState.OPEN)
    best = incumbent(trials)
    return Decision(SearchState.DEAD) if best is None else Decision(SearchState.DECIDED, best.ordinal)


def incumbent(trials: Iterable[TrialSummary]) -> TrialSummary | None:
    """The complete, not diverged trial with the highest accuracy; the earlier one when two are equal."""
    eligible = (trial for trial in trials if trial.state is TrialState.COMPLETE and not trial.diverged)
    return max(
        (trial for trial in eligible if trial.accuracy is not None),
        key=lambda trial: (trial.accuracy, -trial.ordinal),
        default=None,
    )
