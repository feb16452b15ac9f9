"""The training loop: resident data, one permutation an epoch, figures measured apart from what they measure."""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch import Tensor

from worker.training.data import Labelled, Source
from worker.training.device import (
    device_name,
    dtype_name,
    reproducible,
    resolve_precision,
    synchronize,
    typed_out_of_memory,
)
from worker.training.errors import Cancelled, Paused, TimeLimitExceeded
from worker.training.evaluate import accuracy, evenly_spaced
from worker.training.memory import MemoryFigures, training_memory
from worker.training.network import StageNetwork, place
from worker.training.objectives import build_objective, training_step
from worker.training.optimizer import build_optimizer, rate_factor
from worker.training.recompute import StageSource
from worker.training.spec import Budget, Command, CurvePoint, Ending, Hyperparameters, Recipe
from worker.training.state import Position, restore_state, save_state

CHECK_STEPS = 50
"""Steps between two looks at the loss, the clock and the callback; each look waits for the device."""

EXPLOSION = 100.0
"""A mean loss this many times the first one, or chance's, does not come back."""

TRAINING_ACCURACY_IMAGES = 10_000
REPORTS_PER_EPOCH = 4


@dataclass(frozen=True)
class Progress:
    """What a training tells while it runs.

    ``loss`` is the mean since the last time, ``first_loss`` that of the first batch, before any step.
    ``validation_accuracy`` is there only where it was measured.
    """

    step: int
    epoch: float
    fraction: float
    loss: float
    first_loss: float
    validation_accuracy: float | None
    snapshot: Callable[[], bytes]


OnProgress = Callable[[Progress], Command]


@dataclass(frozen=True)
class TrainingResult:
    """Figures of one training. A diverged one has chance as its accuracies."""

    ending: Ending
    training_accuracy: float
    training_accuracy_images: int
    validation_accuracy: float
    training_seconds: float
    warmup_seconds: float
    evaluation_seconds: float
    feature_seconds: float
    epochs: float
    steps: int
    curve: tuple[CurvePoint, ...]
    memory: MemoryFigures
    precision: str
    device: str
    torch_version: str


def keep_going(_: Progress) -> Command:
    """The callback of a training nobody watches."""
    return Command.CONTINUE


def mixed_seed(*parts: object) -> int:
    """A seed of 63 bits that depends on every part."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def report_batches(batches: int, training: int, validation: int, pruned: bool = False) -> set[int]:
    """After which batches of an epoch to validate: its end, and quarters of it where that costs a few percent.

    A pruner that waits for the end of an epoch saves nothing: for it there are always quarters.
    """
    cheap = REPORTS_PER_EPOCH if pruned else max(1, int(0.15 * training / validation))
    reports = min(REPORTS_PER_EPOCH, cheap, batches)
    return {math.ceil(batches * part / reports) for part in range(1, reports + 1)}


def _identity(recipe: Recipe) -> dict[str, object]:
    document = asdict(recipe)
    if recipe.schedule == "constant":
        # Trainings from before there were schedules go on.
        del document["schedule"]
    return document


class StageTraining:
    """One training of one stage. ``network`` is trained in place and moved to the device of the labels.

    ``segments`` are the layers at which gradient checkpointing keeps activations; they change no weights.
    """

    def __init__(
        self,
        network: StageNetwork,
        train: Labelled,
        validation: Labelled,
        recipe: Recipe,
        point: Hyperparameters,
        budget: Budget,
        seed: int,
        resume: bytes | None = None,
        segments: tuple[int, ...] = (),
    ) -> None:
        self.device = train.labels.device
        network.segments = segments
        self.objective = place(build_objective(network, recipe, mixed_seed("objective", seed)), self.device)
        self.network = network
        self.train = train
        self.validation = validation
        self.recipe = recipe
        self.budget = budget
        self.seed = seed
        self.dtype = resolve_precision(recipe.precision, self.device)
        self.optimizer = build_optimizer(self.objective, recipe, point)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.batches = math.ceil(len(train) / recipe.batch_size)
        self.identity: dict[str, object] = {
            "recipe": _identity(recipe),
            "point": asdict(point),
            "seed": seed,
            "stage": asdict(network.stage),
            "images": len(train),
        }
        if recipe.schedule != "constant":
            # The rate of every step depends on how many there will be.
            self.identity["epochs"] = budget.epochs
        self.position = Position()
        if resume is not None:
            self.position = restore_state(resume, self.objective, self.optimizer, self.identity)

    def run(self, on_progress: OnProgress = keep_going) -> TrainingResult:
        """Train to the end of the budget.

        Raises Paused, Cancelled, OutOfMemory, MemoryLimitExceeded or TimeLimitExceeded.
        """
        with reproducible(), typed_out_of_memory():
            started = time.perf_counter()
            memory = self._memory()
            warmup_seconds = time.perf_counter() - started
            ending = self._train(on_progress)
            return self._result(ending, memory, warmup_seconds)

    def _memory(self) -> MemoryFigures:
        inputs: Source = self.train.inputs
        prefix: tuple[StageNetwork, ...] = ()
        # What is recomputed only for want of room is not counted: free memory must not decide what is feasible.
        if isinstance(inputs, StageSource) and not self.recipe.cached_features:
            prefix, inputs = inputs.prefix, inputs.root
        batch_dtype = inputs.batch(torch.zeros(1, dtype=torch.int64)).dtype
        limit = self.budget.limits.memory
        return training_memory(self.network, self.recipe, batch_dtype, self.dtype, self.device, limit, prefix)

    def _train(self, on_progress: OnProgress) -> Ending:
        position = self.position
        reports = report_batches(self.batches, len(self.train), len(self.validation), self.budget.pruned)
        checks = sorted(reports.union(range(CHECK_STEPS, self.batches, CHECK_STEPS)))
        self.objective.train()
        while position.epoch < self.budget.epochs:
            order = self._order(position.epoch)
            for start, stop in pairwise([0, *checks]):
                if stop <= position.batch:
                    continue
                loss = self._steps(order, start, stop)
                last = stop == self.batches
                position.batch = 0 if last else stop
                position.epoch += last
                if self._diverged(loss):
                    return Ending.DIVERGED
                measured = self._validate() if stop in reports else None
                self._mind_time()
                if self._tell(on_progress, loss, measured) is Command.PRUNE:
                    return Ending.PRUNED
        finite = all(bool(value.isfinite().all()) for value in self.network.state_dict().values())
        return Ending.COMPLETE if finite else Ending.DIVERGED

    def _order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(mixed_seed("order", self.seed, epoch))
        return torch.randperm(len(self.train), generator=generator)

    def _steps(self, order: Tensor, start: int, stop: int) -> float:
        """Train on these batches of an epoch; the mean loss."""
        size = self.recipe.batch_size
        inputs, labels = self.train.inputs, self.train.labels
        total = torch.zeros((), device=self.device)
        begun = time.perf_counter()
        for batch in range(start, stop):
            picked = order[batch * size : (batch + 1) * size]
            expected = labels.index_select(0, picked.to(self.device))
            drawn = mixed_seed("views", self.seed, self.position.epoch, batch)
            self._set_rates(self.position.epoch * self.batches + batch)
            loss = training_step(self.objective, self.optimizer, inputs.batch(picked), expected, drawn, self.dtype)
            total += loss
            if self.position.first_loss is None:
                self.position.first_loss = float(loss)
        mean = float(total) / (stop - start)
        synchronize(self.device)
        position = self.position
        position.training_seconds += time.perf_counter() - begun
        position.step += stop - start
        position.loss_sum += mean * (stop - start)
        position.loss_steps += stop - start
        return mean

    def _set_rates(self, step: int) -> None:
        factor = rate_factor(self.recipe.schedule, step, self.budget.epochs * self.batches)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def _diverged(self, loss: float) -> bool:
        usual = max(self.position.first_loss or 0.0, math.log(self.network.classes + 1))
        return not math.isfinite(loss) or loss > EXPLOSION * usual

    def _validate(self) -> float:
        position = self.position
        begun = time.perf_counter()
        measured = self._accuracy(self.validation)
        position.evaluation_seconds += time.perf_counter() - begun
        loss = position.loss_sum / position.loss_steps
        position.curve.append(CurvePoint(position.step, self._epochs(), measured, loss))
        position.loss_sum, position.loss_steps = 0.0, 0
        return measured

    def _accuracy(self, data: Labelled, picked: Tensor | None = None) -> float:
        return accuracy(self.network, data, self.dtype, picked, batch_size=self.recipe.batch_size)

    def _epochs(self) -> float:
        return self.position.epoch + self.position.batch / self.batches

    def _mind_time(self) -> None:
        limit = self.budget.limits.time
        spent = self.position.training_seconds + self.position.evaluation_seconds
        if limit is not None and spent > limit:
            raise TimeLimitExceeded(
                f"{spent:.1f} s are spent after {self._epochs():.2f} of {self.budget.epochs} epochs, "
                f"allowed are {limit:.1f} s"
            )

    def _tell(self, on_progress: OnProgress, loss: float, measured: float | None) -> Command:
        epochs, first = self._epochs(), self.position.first_loss
        assert first is not None, "steps come before progress"
        command = on_progress(
            Progress(self.position.step, epochs, epochs / self.budget.epochs, loss, first, measured, self._snapshot)
        )
        if command is Command.CANCEL:
            raise Cancelled("the training was cancelled")
        if command is Command.PAUSE:
            raise Paused(self._snapshot())
        return command

    def _snapshot(self) -> bytes:
        return save_state(self.objective, self.optimizer, self.position, self.identity)

    def _result(self, ending: Ending, memory: MemoryFigures, warmup_seconds: float) -> TrainingResult:
        position = self.position
        picked = evenly_spaced(len(self.train), TRAINING_ACCURACY_IMAGES)
        chance = 1 / self.network.classes
        trained = validated = chance
        if ending is not Ending.DIVERGED:
            begun = time.perf_counter()
            trained = self._accuracy(self.train, picked)
            validated = position.curve[-1].validation_accuracy if position.curve else chance
            if not position.curve or position.curve[-1].step != position.step:
                validated = self._accuracy(self.validation)
            position.evaluation_seconds += time.perf_counter() - begun
        return TrainingResult(
            ending=ending,
            training_accuracy=trained,
            training_accuracy_images=len(picked),
            validation_accuracy=validated,
            training_seconds=position.training_seconds,
            warmup_seconds=warmup_seconds,
            evaluation_seconds=position.evaluation_seconds,
            feature_seconds=0.0,
            epochs=self._epochs(),
            steps=position.step,
            curve=tuple(position.curve),
            memory=memory,
            precision=dtype_name(self.dtype),
            device=device_name(self.device),
            torch_version=str(torch.__version__),
        )
