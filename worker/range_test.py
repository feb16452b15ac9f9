"""Learning-rate range test (Smith 2015): the loss after a few steps from the same weights, rate after rate."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from worker.control import Control
from worker.data.store import Dataset
from worker.stage_training import StageJob, Workbench, train_stage
from worker.training.errors import Cancelled, TimeLimitExceeded
from worker.training.loop import CHECK_STEPS, Progress
from worker.training.spec import Budget, Command, Ending, Limits

STEPS = 100
DECAY = 0.95
"""Weight of a step's loss against that of the step after it."""


class SmoothedLoss:
    """Exponential mean of training losses that the loop tells as means of several steps."""

    def __init__(self) -> None:
        self._step = 0
        self._sum = 0.0

    def add(self, step: int, loss: float) -> None:
        """``loss`` is the mean of the steps since the last call up to ``step``."""
        faded = DECAY ** (step - self._step)
        self._sum = self._sum * faded + loss * (1 - faded)
        self._step = step

    @property
    def value(self) -> float | None:
        """The mean, weights adding up to one; None before the first step or if it is not finite."""
        mean = self._sum / (1 - DECAY**self._step) if self._step else math.nan
        return mean if math.isfinite(mean) else None


def try_rates(
    job: StageJob, rates: Sequence[float], dataset: Dataset, bench: Workbench, control: Control
) -> list[float | None]:
    """The smoothed training loss of each rate after at most ``STEPS`` steps; None from the first that diverges on.

    ``rates`` rise and take the place of the point's; the time limit is for all of them. Raises what ``train_stage``
    raises, and Stopped.
    """
    begun = time.monotonic()
    limits = job.budget.limits
    losses: list[float | None] = []
    for number, rate in enumerate(rates):
        loss = SmoothedLoss()

        def watch(progress: Progress, number: int = number, loss: SmoothedLoss = loss) -> Command:
            control.advance((number + min(1.0, progress.step / STEPS)) / len(rates))
            spent = time.monotonic() - begun
            if limits.time is not None and spent > limits.time:
                raise TimeLimitExceeded(
                    f"{spent:.1f} s are spent after {number} of {len(rates)} learning rates, allowed are "
                    f"{limits.time:.1f} s; raise limits.time or leave out search.range_test"
                )
            loss.add(progress.step, progress.loss)
            # What was trained is of no use: cancelling spares its evaluation.
            return Command.CANCEL if progress.step + CHECK_STEPS > STEPS else Command.CONTINUE

        point = replace(job.point, learning_rate=rate)
        budget = Budget(job.budget.epochs, Limits(memory=limits.memory))
        try:
            ending = train_stage(replace(job, point=point, budget=budget), dataset, bench, watch).training.ending
        except Cancelled:
            ending = Ending.COMPLETE
        losses.append(None if ending is Ending.DIVERGED else loss.value)
        if losses[-1] is None:
            break
    return losses + [None] * (len(rates) - len(losses))
