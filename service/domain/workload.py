"""How many trainings a stage search asks for, by kind; some only when it comes to that."""

from collections.abc import Collection
from dataclasses import dataclass

from service.domain.experiment import ExperimentSpec, Phase
from service.domain.search import CANDIDATES


@dataclass(frozen=True, slots=True)
class Workload:
    """Tasks of a search, at most, and ``least_trials`` of its ``trials``; ``again`` confirms after a second round.

    ``evaluations`` are those of the networks that end with its stage.

    Second rounds are for stages that turn out to stagnate, confirmations for searches with ``CANDIDATES`` trials that
    could be frozen; a search that may spend seconds ends when they are spent, and has one trial for certain.
    """

    least_trials: int
    trials: int
    range_tests: int
    confirmations: int
    again: int
    fits: int
    evaluations: int


def workload(spec: ExperimentSpec, budget: Phase, matches: Collection[str], *, leaf: bool) -> Workload:
    """The work of a search with a budget, which may spend the seconds of those it ``matches``.

    ``leaf``: a variant's last stage is its own.
    """
    settings = spec.search
    confirmations = CANDIDATES * settings.confirm_seeds
    # Who may spend seconds has spent them, and gets no second round.
    second_round = 0 if matches else settings.second_round
    return Workload(
        least_trials=1 if matches else budget.trials,
        trials=budget.trials + second_round,
        range_tests=int(settings.range_test),
        # A lone trial is frozen without any.
        confirmations=confirmations if budget.trials >= CANDIDATES else 0,
        again=confirmations if second_round else 0,
        fits=extra_seeds(spec),
        evaluations=1 + extra_seeds(spec) if leaf else 0,
    )


def extra_seeds(spec: ExperimentSpec) -> int:
    """Seeds that have no search of their own and are fitted."""
    return 0 if spec.search.every_seed else len(spec.seeds) - 1
