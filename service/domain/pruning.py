"""What a pruner looks at: the measurements of a search's trials, and which of them it has to judge."""

from dataclasses import dataclass
from typing import Protocol

from service.domain.states import Pruner, TrialOrigin, TrialState


@dataclass(frozen=True, slots=True)
class PruningBrief:
    """All that the pruning of one search depends on beside its trials."""

    key: str
    pruner: Pruner


@dataclass(frozen=True, slots=True)
class MeasuredTrial:
    """A trial with its measurements, (optimiser steps done, validation accuracy), of all attempts and in any order.

    Trials of one search are measured at the same steps, unless they end early.
    """

    ordinal: int
    origin: TrialOrigin
    state: TrialState
    reports: tuple[tuple[int, float], ...]


class ShouldPrune(Protocol):
    """Whether to end a running trial after its last measurement; ``others`` are all other trials of the search."""

    def __call__(self, brief: PruningBrief, trial: MeasuredTrial, others: tuple[MeasuredTrial, ...]) -> bool: ...
