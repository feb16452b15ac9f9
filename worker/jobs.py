"""Turns a lease into work for the training room, and what that brings back into the protocol's words."""

import logging
import time
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from contract.base import Digest
from contract.submission import Point
from contract.tasks import Command as Told
from contract.tasks import Lease, StageShape, TaskWork
from worker.agent import Finished
from worker.checkpoints import CheckpointError, CheckpointStore, content_address
from worker.client import ProtocolError
from worker.control import Control, MachineFailed, Stopped, TaskFailed
from worker.data.errors import DataError
from worker.data.library import open_dataset
from worker.data.store import Dataset
from worker.embed import embed_chain
from worker.files import disk_trouble
from worker.outcomes import embedding_outcome, evaluation_outcome, measurement, range_outcome, training_outcome
from worker.probes import probe_chain
from worker.range_test import try_rates
from worker.snapshot_uploads import SnapshotUploads, Uploads
from worker.snapshots import INTERVAL_SECONDS, Snapshots
from worker.stage_training import (
    DataUse,
    FrozenStage,
    StageJob,
    StageResult,
    Workbench,
    evaluate_chain,
    train_stage,
)
from worker.stages import stage_of
from worker.training.errors import Cancelled, ForeignState, MemoryLimitExceeded, OutOfMemory, Paused, TimeLimitExceeded
from worker.training.loop import Progress
from worker.training.spec import Budget, Command, Ending, Hyperparameters, Limits, Recipe
from worker.training.state import steps_of

log = logging.getLogger(__name__)

# A worker that stops has seconds; what does not arrive by then lies in its home.
GOODBYE_SECONDS = 10.0

Value = TypeVar("Value")

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

    def __init__(self, device: torch.device, places: Places, server: Downloads, uploads: Uploads | None = None) -> None:
        """Without ``uploads`` snapshots stay in this home; they are for the use of a thread of its own."""
        self._places = places
        self._server = server
        self._uploads = None if uploads is None else SnapshotUploads(uploads)
        self._checkpoints = CheckpointStore(places.home / "checkpoints")
        self._bench = Workbench(device, self._checkpoints, places.home / "features")
        self._snapshots = Snapshots(places.home / "snapshots", places.snapshot_seconds)
        self._dataset: Dataset | None = None

    def __call__(self, lease: Lease, control: Control) -> Finished:
        """Raises Stopped, TaskFailed and MachineFailed, as the agent expects."""
        try:
            return self._execute(lease, control)
        except (OSError, TaskFailed) as error:
            trouble = disk_trouble(error)
            if trouble is None:
                raise
            raise MachineFailed(f"the disk of {self._places.home} is in trouble: {trouble}") from error

    def _execute(self, lease: Lease, control: Control) -> Finished:
        started = time.monotonic()
        try:
            finished = self._do(lease, control, started)
        except Paused as pause:
            self._keep(lease, pause.state, control)
            if self._uploads is not None and not self._uploads.finish(GOODBYE_SECONDS):
                log.warning("%s: the last snapshot has not arrived yet", lease.label)
            raise Stopped(control.told) from pause
        except Cancelled as error:
            self._drop(lease)
            raise Stopped(control.told) from error
        except Stopped as stop:
            # In a pass over images, which has nothing to keep.
            if stop.command == "cancel":
                self._drop(lease)
            raise
        except MemoryLimitExceeded as error:
            raise TaskFailed("memory-limit", str(error)) from error
        except OutOfMemory as error:
            # The features kept here may be what is too much: the next attempt starts without them.
            self._bench.features.clear()
            raise TaskFailed("out-of-memory", str(error)) from error
        except TimeLimitExceeded as error:
            raise TaskFailed("time-limit", str(error)) from error
        except DataError as error:
            # The copy here was opened: it is the split asked for that does not fit.
            raise TaskFailed("user-error", str(error)) from error
        except CheckpointError as error:
            # A damaged copy was thrown away; the next attempt downloads it again.
            raise TaskFailed("crashed", str(error)) from error
        if self._uploads is not None:
            self._uploads.forget()
        # Until the server has the result, this home is the only place that has the training.
        return replace(finished, accepted=lambda: self._snapshots.drop(lease.task))

    def _do(self, lease: Lease, control: Control, started: float) -> Finished:
        work = lease.work
        dataset = self._open(work)
        control.check()
        match lease.kind:
            case "trial" | "fit":
                trained = self._train(lease, self._job(work), dataset, control)
                complete = trained.training.ending is Ending.COMPLETE
                outcome = training_outcome(trained, time.monotonic() - started)
                return Finished(outcome, trained.checkpoint if complete else None)
            case "range-test":
                rates = _required(work.learning_rates or None, "learning rates")
                steps = _required(work.rate_steps or None, "steps for each learning rate")
                losses = try_rates(self._job(work), rates, steps, dataset, self._bench, control)
                seconds = time.monotonic() - started
                return Finished(range_outcome(losses, seconds, self._bench.device, work.recipe.precision))
            case "evaluate":
                chain, precision = self._chain(work), work.recipe.precision
                tested = evaluate_chain(chain, dataset, precision, self._bench, control.check)
                probes = probe_chain(chain, tested, dataset, _use(work), precision, self._bench, control)
                return Finished(evaluation_outcome(tested, probes, time.monotonic() - started))
            case "embed":
                use = _required(work.embedding, "embedding")
                chain, precision = self._chain(work), work.recipe.precision
                made = embed_chain(chain, dataset, use.points, use.perplexity, precision, self._bench, control)
                seconds = time.monotonic() - started
                return Finished(embedding_outcome(made, use.perplexity, dataset.class_names, seconds), made.content)

    def _train(self, lease: Lease, job: StageJob, dataset: Dataset, control: Control) -> StageResult:
        """Train, from where an earlier attempt got to on this home or any other."""
        kept = time.monotonic()

        def watch(progress: Progress) -> Command:
            nonlocal kept
            told = _watch(progress, control)
            if told is Command.CONTINUE and time.monotonic() - kept >= self._snapshots.interval:
                self._keep(lease, progress.snapshot(), control)
                kept = time.monotonic()
            return told

        for state in self._states(lease):
            try:
                return train_stage(job, dataset, self._bench, watch, state, control.check)
            except ForeignState as error:
                log.warning("%s: %s", lease.label, error)
        return train_stage(job, dataset, self._bench, watch, check=control.check)

    def _states(self, lease: Lease) -> list[bytes]:
        """What is left of earlier attempts, here and at the server, the furthest first."""
        here, there = self._snapshots.get(lease.task), lease.snapshot
        found = [] if here is None else [here]
        if there is not None and (here is None or content_address(here) != there.sha256):
            try:
                found.append(self._snapshots.fetch(there.sha256, self._server.download))
            except (ProtocolError, OSError) as error:
                if disk_trouble(error) is not None:
                    # Trained from the beginning, it would take the place of the further snapshot at the server.
                    raise
                log.warning("%s: its snapshot cannot be fetched: %s", lease.label, error)
        further: list[tuple[int, bytes]] = []
        for state in found:
            try:
                further.append((steps_of(state), state))
            except ForeignState as error:
                log.warning("%s: %s", lease.label, error)
        further.sort(key=itemgetter(0), reverse=True)
        if further:
            log.info("%s: goes on after %d steps", lease.label, further[0][0])
        return [state for _, state in further]

    def _keep(self, lease: Lease, state: bytes, control: Control) -> None:
        self._snapshots.keep(lease.task, state)
        if self._uploads is not None:
            self._uploads.offer(lease, state, control.fraction or 0.0)

    def _drop(self, lease: Lease) -> None:
        self._snapshots.drop(lease.task)
        if self._uploads is not None:
            self._uploads.forget()

    def _open(self, work: TaskWork) -> Dataset:
        """The task's data set. Raises MachineFailed: what is missing or damaged here is no fault of the task."""
        if self._dataset is None or self._dataset.info.digest != work.dataset.digest:
            name, digest = work.dataset.name, work.dataset.digest
            try:
                self._dataset = open_dataset(name, self._places.home, self._places.datasets, digest)
            except (DataError, OSError) as error:
                raise MachineFailed(f"the copy of {name} on this machine cannot be used: {error}") from error
        return self._dataset

    def _job(self, work: TaskWork) -> StageJob:
        return StageJob(
            stage=stage_of(work.stage),
            prefix=tuple(self._prefix(work)),
            data=_use(work),
            recipe=Recipe(**work.recipe.model_dump()),
            point=_hyperparameters(work.hyperparameters),
            budget=Budget(work.epochs, Limits(work.memory_limit, work.time_limit), work.pruned),
            seed=work.seed,
            segments=tuple(work.segments),
        )

    def _chain(self, work: TaskWork) -> list[FrozenStage]:
        last = _required(work.checkpoint, "checkpoint")
        return [*self._prefix(work), self._frozen(work.stage, last)]

    def _prefix(self, work: TaskWork) -> list[FrozenStage]:
        return [self._frozen(frozen.stage, frozen.checkpoint) for frozen in work.prefix]

    def _frozen(self, stage: StageShape, checkpoint: Digest) -> FrozenStage:
        """A frozen stage whose checkpoint lies in the store afterwards.

        Raises TaskFailed as preempted where the server cannot give it: the task that needs it is sound.
        """
        if not self._checkpoints.has(checkpoint):
            target = self._checkpoints.directory / f"{checkpoint}.safetensors"
            try:
                self._server.download(checkpoint, target)
            except ProtocolError as refusal:
                raise TaskFailed("preempted", f"the checkpoint {checkpoint} cannot be fetched: {refusal}") from refusal
            self._checkpoints.make_room(checkpoint)
        return FrozenStage(stage_of(stage), checkpoint)


def _watch(progress: Progress, control: Control) -> Command:
    """Pass a measurement on, and the server's command back."""
    control.fraction = progress.fraction
    if progress.validation_accuracy is not None:
        control.report(measurement(progress.step, progress.epoch, progress.validation_accuracy, progress.loss))
    return _COMMANDS[control.told]


def _use(work: TaskWork) -> DataUse:
    return DataUse(work.dataset.train, work.dataset.validation, work.dataset.preprocessing)


def _hyperparameters(point: Point | None) -> Hyperparameters:
    given = _required(point, "hyperparameters")
    return Hyperparameters(given.learning_rate, given.regularization, tuple(given.more.items()))


def _required(value: Value | None, name: str) -> Value:
    if value is None:
        raise TaskFailed("user-error", f"the task has no {name}; server and worker are of different versions")
    return value
