"""Learning-rate range test (Smith 2017): the loss after a few steps from the same weights, rate after rate."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from worker.control import Control
from worker.data.store import Dataset, Labels
from worker.stage_training import StageJob, Workbench, train_stage
from worker.training.errors import Cancelled, TimeLimitExceeded
from worker.training.loop import CHECK_STEPS, Progress
from worker.training.spec import Budget, Command, Ending, Limits

DECAY = 0.95
"""Weight of a step's loss against that of the step after it."""
LEARNED = 0.95
"""A loss above this share of one that needs no image is no sign of learning: noise reaches so far."""


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
    job: StageJob, rates: Sequence[float], steps: int, dataset: Dataset, bench: Workbench, control: Control
) -> list[float | None]:
    """The smoothed training loss of each rate after at most so many ``steps``; None where the rate is too high.

    Too high is a rate whose training diverges, and all above it, which are not tried. A network may collapse as well,
    its ReLUs dead for good: it then answers with the classes' shares at a loss that is finite. Smith ("Cyclical
    Learning Rates for Training Neural Networks", 2017, section 3.3) ends the range where the accuracy stops rising,
    and so does this: all rates above the highest one that learned are too high. Learned has what ends clearly
    (``LEARNED``) below its first loss and, where classes are learned, below the loss of guessing their shares, which
    is ln classes if they are equally frequent. Where no rate learned only divergence tells anything: the others may be
    too low.

    ``rates`` rise and take the place of the point's; the time limit is for all of them. Raises what ``train_stage``
    raises, and Stopped.
    """
    begun = time.monotonic()
    limits = job.budget.limits
    losses: list[float | None] = []
    learned = 0
    # The same for every rate, as all start from the same weights and see the same images.
    first = math.inf
    blind = guessing_loss(dataset.labels[: job.data.train]) if job.recipe.objective == "classification" else math.inf
    for number, rate in enumerate(rates):
        loss = SmoothedLoss()

        def watch(progress: Progress, number: int = number, loss: SmoothedLoss = loss) -> Command:
            nonlocal first
            control.advance((number + min(1.0, progress.step / steps)) / len(rates))
            spent = time.monotonic() - begun
            if limits.time is not None and spent > limits.time:
                raise TimeLimitExceeded(
                    f"{spent:.1f} s are spent after {number} of {len(rates)} learning rates, allowed are "
                    f"{limits.time:.1f} s; raise limits.time or leave out search.range_test"
                )
            first = progress.first_loss
            loss.add(progress.step, progress.loss)
            # What was trained is of no use: cancelling spares its evaluation.
            return Command.CANCEL if progress.step + CHECK_STEPS > steps else Command.CONTINUE

        point = replace(job.point, learning_rate=rate)
        single = replace(job, point=point, budget=Budget(job.budget.epochs, Limits(memory=limits.memory)))
        try:
            ending = train_stage(single, dataset, bench, watch, check=control.check).training.ending
        except Cancelled:
            ending = Ending.COMPLETE
        reached = None if ending is Ending.DIVERGED else loss.value
        losses.append(reached)
        if reached is None:
            break
        if reached < LEARNED * min(first, blind):
            learned = len(losses)
    tried = losses[: learned or None]
    return tried + [None] * (len(rates) - len(tried))


def guessing_loss(labels: Labels) -> float:
    """The lowest cross entropy without looking at images: that of the classes' shares, ln classes if they are equal."""
    shares = np.bincount(labels) / len(labels)
    return -float(sum(share * math.log(share) for share in shares if share > 0))
