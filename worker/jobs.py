"""Turns a lease into work for the training room, and what that brings back into the protocol's words."""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar
from uuid import UUID

import torch

from contract.base import Digest
from contract.submission import Point
from contract.tasks import Command as Told
from contract.tasks import (
    ConvLayer,
    EvaluationOutcome,
    Lease,
    Measurement,
    Memory,
    StageShape,
    TaskWork,
    TrainingOutcome,
)
from worker.agent import Finished
from worker.checkpoints import CheckpointError, CheckpointStore
from worker.control import Control, Stopped, TaskFailed
from worker.data.errors import DataError
from worker.data.library import open_dataset
from worker.data.store import Dataset
from worker.snapshots import INTERVAL_SECONDS, Snapshots
from worker.stage_training import (
    ChainResult,
    DataUse,
    FrozenStage,
    StageJob,
    StageResult,
    Workbench,
    evaluate_chain,
    train_stage,
)
from worker.training.errors import Cancelled, ForeignState, OutOfMemory, Paused, TimeLimitExceeded
from worker.training.loop import Progress, TrainingResult
from worker.training.spec import Budget, Command, Conv, Ending, Hyperparameters, Limits, Pool, Recipe, Stage

log = logging.getLogger(__name__)

Value = TypeVar("Value")

_ENDINGS: dict[Ending, Literal["complete", "pruned", "diverged"]] = {
    Ending.COMPLETE: "complete",
    Ending.PRUNED: "pruned",
    Ending.DIVERGED: "diverged",
}
_COMMANDS: dict[Told, Command] = {
    "continue": Command.CONTINUE,
    "prune": Command.PRUNE,
    "pause": Command.PAUSE,
    "drain": Command.PAUSE,
    "cancel": Command.CANCEL,
}


class Downloads(Protocol):
    """Where checkpoints come from."""

    def download(self, digest: Digest, target: Path) -> None: ...


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of this worker: its home, and where data sets are looked for besides; how often trainings are kept."""

    home: Path
    datasets: Path | None
    snapshot_seconds: float = INTERVAL_SECONDS


class TorchExecutor:
    """Executor of the agent that trains with PyTorch on one device."""

    def __init__(self, device: torch.device, places: Places, server: Downloads) -> None:
        self._places = places
        self._server = server
        self._checkpoints = CheckpointStore(places.home / "checkpoints")
        self._bench = Workbench(device, self._checkpoints, places.home / "features")
        self._snapshots = Snapshots(places.home / "snapshots", places.snapshot_seconds)
        self._dataset: Dataset | None = None

    def __call__(self, lease: Lease, control: Control) -> Finished:
        """Raises Stopped and TaskFailed, as the agent expects."""
        started = time.monotonic()
        try:
            finished = self._do(lease, control, started)
        except Paused as pause:
            self._snapshots.keep(lease.task, pause.state)
            raise Stopped(control.told) from pause
        except Cancelled as error:
            self._snapshots.drop(lease.task)
            raise Stopped(control.told) from error
        except OutOfMemory as error:
            raise TaskFailed("out-of-memory", str(error)) from error
        except TimeLimitExceeded as error:
            raise TaskFailed("time-limit", str(error)) from error
        except DataError as error:
            raise TaskFailed("user-error", str(error)) from error
        except CheckpointError as error:
            # A damaged copy was thrown away; the next attempt downloads it again.
            raise TaskFailed("crashed", str(error)) from error
        self._snapshots.drop(lease.task)
        return finished

    def _do(self, lease: Lease, control: Control, started: float) -> Finished:
        work = lease.work
        dataset = self._open(work)
        if lease.kind == "evaluate":
            chain = [*self._prefix(work), self._frozen(work.stage, _required(work.checkpoint, "checkpoint"))]
            measured = evaluate_chain(chain, dataset, work.recipe.precision, self._bench)
            return Finished(_evaluation(measured, time.monotonic() - started))
        if lease.kind not in ("trial", "fit"):
            raise TaskFailed("user-error", f"this worker cannot do tasks of kind {lease.kind}; upgrade it")
        job = StageJob(
            stage=_stage(work.stage),
            prefix=tuple(self._prefix(work)),
            data=DataUse(work.dataset.train, work.dataset.validation, work.dataset.preprocessing),
            recipe=Recipe(**work.recipe.model_dump()),
            point=_hyperparameters(work.hyperparameters),
            budget=Budget(work.epochs, Limits(work.memory_limit, work.time_limit)),
            seed=work.seed,
        )
        control.check()
        trained = self._train(lease.task, job, dataset, control)
        complete = trained.training.ending is Ending.COMPLETE
        outcome = _training(trained.training, time.monotonic() - started)
        return Finished(outcome, trained.checkpoint if complete else None)

    def _train(self, task: UUID, job: StageJob, dataset: Dataset, control: Control) -> StageResult:
        """Train, from where an earlier attempt on this home got to."""
        kept = time.monotonic()

        def watch(progress: Progress) -> Command:
            nonlocal kept
            if time.monotonic() - kept >= self._snapshots.interval:
                self._snapshots.keep(task, progress.snapshot())
                kept = time.monotonic()
            return _watch(progress, control)

        try:
            return train_stage(job, dataset, self._bench, watch, self._snapshots.get(task))
        except ForeignState as error:
            log.warning("%s", error)
            return train_stage(job, dataset, self._bench, watch)

    def _open(self, work: TaskWork) -> Dataset:
        if self._dataset is None or self._dataset.info.digest != work.dataset.digest:
            name, digest = work.dataset.name, work.dataset.digest
            self._dataset = open_dataset(name, self._places.home, self._places.datasets, digest)
        return self._dataset

    def _prefix(self, work: TaskWork) -> list[FrozenStage]:
        return [self._frozen(frozen.stage, frozen.checkpoint) for frozen in work.prefix]

    def _frozen(self, stage: StageShape, checkpoint: Digest) -> FrozenStage:
        """A frozen stage whose checkpoint lies in the store afterwards."""
        if not self._checkpoints.has(checkpoint):
            target = self._checkpoints.directory / f"{checkpoint}.safetensors"
            self._server.download(checkpoint, target)
            self._checkpoints.make_room(checkpoint)
        return FrozenStage(_stage(stage), checkpoint)


def _watch(progress: Progress, control: Control) -> Command:
    """Pass a measurement on, and the server's command back."""
    control.fraction = progress.fraction
    if progress.validation_accuracy is not None:
        control.report(
            Measurement(
                step=progress.step,
                epoch=progress.epoch,
                validation_accuracy=progress.validation_accuracy,
                loss=_finite(progress.loss),
            )
        )
    return _COMMANDS[control.told]


def _stage(shape: StageShape) -> Stage:
    layers = tuple(
        Conv(layer.size, layer.filters) if isinstance(layer, ConvLayer) else Pool(layer.size) for layer in shape.layers
    )
    return Stage(layers, shape.input_shape, shape.output_shape, tuple(shape.norms))


def _hyperparameters(point: Point | None) -> Hyperparameters:
    given = _required(point, "hyperparameters")
    return Hyperparameters(given.learning_rate, given.regularization, tuple(given.more.items()))


def _training(result: TrainingResult, total_seconds: float) -> TrainingOutcome:
    return TrainingOutcome(
        outcome=_ENDINGS[result.ending],
        validation_accuracy=result.validation_accuracy,
        training_accuracy=result.training_accuracy,
        epochs=result.epochs,
        training_seconds=result.training_seconds,
        feature_seconds=result.feature_seconds,
        evaluation_seconds=result.evaluation_seconds,
        total_seconds=total_seconds,
        memory=Memory(
            peak_bytes=result.memory.peak_bytes,
            method=result.memory.method,
            analytic_bytes=result.memory.analytic_bytes,
            resident_bytes=result.memory.resident_bytes,
        ),
        curve=[
            Measurement(
                step=point.step,
                epoch=point.epoch,
                validation_accuracy=point.validation_accuracy,
                loss=_finite(point.loss),
            )
            for point in result.curve
        ],
        provenance={
            "device": result.device,
            "precision": result.precision,
            "torch": result.torch_version,
            # Results on the CPU depend on it: sums are split among threads.
            "threads": str(torch.get_num_threads()),
            "training accuracy over": f"{result.training_accuracy_images} images",
        },
    )


def _evaluation(result: ChainResult, total_seconds: float) -> EvaluationOutcome:
    return EvaluationOutcome(
        outcome="evaluated",
        test_accuracy=result.test_accuracy,
        images=result.images,
        total_seconds=total_seconds,
        provenance={"device": result.device, "precision": result.precision, "torch": result.torch_version},
    )


def _required(value: Value | None, name: str) -> Value:
    if value is None:
        raise TaskFailed("user-error", f"the task has no {name}; server and worker are of different versions")
    return value


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None
