"""What is left to do for a submission, beside what there is of its searches."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.domain.experiment import ExperimentSpec
from service.domain.plan import Plan, searched_seeds
from service.domain.states import PlannedState, SearchState
from service.domain.workload import Workload

NOBODY: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Existing:
    """What there is of a search: how many of its tasks have ended, and of fits and evaluations on which seeds.

    ``lost`` are seeds whose fit left no network: nothing is trained on it or tested.
    """

    state: SearchState
    trials: int = 0
    range_tests: int = 0
    confirmations: int = 0
    fitted: frozenset[int] = NOBODY
    lost: frozenset[int] = NOBODY
    evaluated: frozenset[int] = NOBODY

    @property
    def planned_state(self) -> PlannedState:
        return PlannedState.TAKEN_OVER if self.state in SearchState.ended() else PlannedState.UNDER_WAY


NOTHING = Existing(SearchState.WAITING)
NO_WORK = Workload(0, 0, 0, 0, 0, 0, 0)


def remaining_work(
    spec: ExperimentSpec, plan: Plan, whole: Mapping[str, Workload], existing: Mapping[str, Existing]
) -> dict[str, Workload]:
    """What is left of the ``whole`` work of every search, by key; of those under way elsewhere it is what these lack.

    Nothing is behind a search that ended without a stage to stand on: whatever stands on it is dead on arrival.
    """
    fitted = frozenset(spec.seeds) - frozenset(searched_seeds(spec))
    fruitless: set[str] = set()
    lost: dict[str, frozenset[int]] = {}
    left: dict[str, Workload] = {}
    for search in plan.searches:
        work, found = whole[search.key], existing.get(search.key, NOTHING)
        if found.state in SearchState.fruitless() or search.parent in fruitless:
            fruitless.add(search.key)
            left[search.key] = NO_WORK
            continue
        lost[search.key] = found.lost | (lost[search.parent] if search.parent else NOBODY)
        seeds = fitted - lost[search.key]
        left[search.key] = _lacking(work, found, seeds, seeds | {search.seed} if work.evaluations else NOBODY)
    return left


def _lacking(work: Workload, found: Existing, fitted: frozenset[int], evaluated: frozenset[int]) -> Workload:
    """Without what has ended; ``fitted`` and ``evaluated`` are the seeds on which that is wanted and can be."""
    searching = found.state is not SearchState.DECIDED
    return Workload(
        least_trials=max(0, work.least_trials - found.trials) if searching else 0,
        trials=max(0, work.trials - found.trials) if searching else 0,
        range_tests=max(0, work.range_tests - found.range_tests) if searching else 0,
        confirmations=max(0, work.confirmations - found.confirmations) if searching else 0,
        again=work.again if searching else 0,
        fits=len(fitted - found.fitted),
        evaluations=len(evaluated - found.evaluated),
    )
