"""How long trainings will take, from those of the same data set that have finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf
from statistics import median

from service.domain.experiment import ExperimentSpec
from service.domain.plan import Plan
from service.domain.range_test import images
from service.domain.workload import Workload

APART = 2.0
"""Two trainings tell work from overhead when one is at least so many times as large as the other."""
BEYOND = 10.0
"""Trainings of one size say nothing of those that are more than so many times as large."""


@dataclass(frozen=True, slots=True)
class TrainingCosts:
    """Seconds of a training: fixed ones (start, data, evaluation) and those per multiply-add, up to a ``largest``."""

    fixed: float
    per_multiply_add: float
    largest: float = inf

    def seconds(self, multiply_adds: float) -> float | None:
        """Of a training of so many multiply-adds; None where nothing known reaches."""
        return None if multiply_adds > self.largest else self.fixed + self.per_multiply_add * multiply_adds


def training_costs(finished: Sequence[tuple[float, float]]) -> TrainingCosts | None:
    """A straight line through (multiply-adds, seconds), None without any.

    Theil and Sen's: the slope is the median over pairs of unlike sizes, the fixed part the median of what is then left.
    A quotient of sums would take the overhead of tiny trainings for work, and least squares would follow the few that
    had to wait for their data. Trainings of much the same size do not tell the two apart: all of their time then counts
    as work, which errs on the long side for larger ones, and only up to ten times their size.
    """
    known = [(size, seconds) for size, seconds in finished if size > 0]
    if not known:
        return None
    slopes = [
        (high[1] - low[1]) / (high[0] - low[0])
        for low, high in combinations(sorted(known), 2)
        if high[0] >= APART * low[0]
    ]
    slope = median(slopes) if slopes else 0.0
    if slope <= 0:
        return TrainingCosts(0.0, median(seconds / size for size, seconds in known), BEYOND * max(known)[0])
    return TrainingCosts(max(0.0, median(seconds - slope * size for size, seconds in known)), slope)


def plan_seconds(
    spec: ExperimentSpec,
    plan: Plan,
    whole: Mapping[str, Workload],
    left: Mapping[str, Workload],
    costs: TrainingCosts,
    *,
    second_rounds: bool,
) -> float | None:
    """Of what is ``left`` of the ``whole`` work, one task after the other; None if one is larger than can be known.

    Who may spend seconds spends those of the searches it matches. Confirmations are taken to be made; with
    ``second_rounds`` every search that may have one gets it. A test costs the forward pass of all stages, a third of
    what a training does.
    """
    searching: dict[str, float] = {}
    forward: dict[str, int] = {}
    total = 0.0
    for search in plan.searches:
        full, work = whole[search.key], left[search.key]
        train, epochs = spec.split.train, search.budget.epochs
        size = search.multiply_adds * epochs * train
        ranging = search.multiply_adds * images(spec.recipe.batch_size, train, epochs)
        most = _times(full.range_tests, costs, ranging)
        most += _times(full.trials if second_rounds or search.matches else full.least_trials, costs, size)
        allowed = sum(searching[key] for key in search.matches) if search.matches else inf
        searching[search.key] = min(most, max(allowed, _times(1, costs, size)))
        forward[search.key] = search.multiply_adds + (forward[search.parent] if search.parent else 0)
        total += _left(searching[search.key], full, work, _times(1, costs, size), _times(1, costs, ranging))
        total += _times(work.fits + work.confirmations + (work.again if second_rounds else 0), costs, size)
        total += _times(work.evaluations, costs, forward[search.key] / 3 * spec.dataset.test)
    return None if total == inf else total


def _left(seconds: float, full: Workload, work: Workload, trial: float, range_test: float) -> float:
    """What is left of a search's ``seconds`` when some of its trials and its range test have been done."""
    if not work.trials:
        return 0.0
    if seconds == inf:
        return inf
    done = (full.trials - work.trials, trial), (full.range_tests - work.range_tests, range_test)
    return max(0.0, seconds - sum(tasks * each for tasks, each in done if tasks))


def _times(tasks: int, costs: TrainingCosts, multiply_adds: float) -> float:
    """Seconds of some tasks of a size; endless where that size is beyond what is known."""
    each = costs.seconds(multiply_adds) if tasks else 0.0
    return inf if each is None else tasks * each
