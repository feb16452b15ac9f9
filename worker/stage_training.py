"""One stage from a data set, a prefix and a recipe to a checkpoint; and the test accuracy of a chain of stages."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from worker.checkpoints import CheckpointError, CheckpointStore, StageCheckpoint, pack, unpack
from worker.data.preprocessing import Preprocessing, input_mean_and_std
from worker.data.splits import split_dataset
from worker.data.store import Dataset
from worker.features import FeatureCache, KeptIn, Split, recomputed
from worker.training.data import Labelled, Source, TensorSource
from worker.training.device import device_name, dtype_name, reproducible, resolve_precision, typed_out_of_memory
from worker.training.evaluate import Check, classified_rightly, unwatched
from worker.training.loop import OnProgress, StageTraining, TrainingResult, keep_going, mixed_seed
from worker.training.network import InputStatistics, build_network, place
from worker.training.spec import Budget, Ending, Hyperparameters, PrecisionChoice, Recipe, Stage


@dataclass(frozen=True)
class DataUse:
    """The split of a data set, in images, and its preprocessing."""

    train: int
    validation: int
    preprocessing: Preprocessing = "standardize"


@dataclass(frozen=True)
class FrozenStage:
    """A trained stage by the SHA-256 of its checkpoint, which lies in the bench's store."""

    stage: Stage
    checkpoint: str


@dataclass(frozen=True)
class StageJob:
    """One training: the trial or fit of a task. ``segments``: see ``StageTraining``."""

    stage: Stage
    prefix: tuple[FrozenStage, ...]
    data: DataUse
    recipe: Recipe
    point: Hyperparameters
    budget: Budget
    seed: int
    segments: tuple[int, ...] = ()


@dataclass(frozen=True)
class StageResult:
    """The figures of a training and the stage's checkpoint; a diverged training has none.

    ``features`` is where its inputs were kept, None without a prefix: times depend on it, and nothing else does.
    """

    training: TrainingResult
    checkpoint: bytes | None
    features: KeptIn | None = None


@dataclass(frozen=True)
class ChainResult:
    """The accuracy of a chain of stages on the test set.

    ``right`` has a bit for each image, set where it was classified rightly, the first in the lowest bit of a byte.
    """

    test_accuracy: float
    right: bytes
    images: int
    seconds: float
    precision: str
    device: str
    torch_version: str


class Workbench:
    """What a device keeps between tasks: one resident data set, frozen features, checkpoints. For one thread.

    ``passes`` keeps only the statistics of features that are recomputed for every batch.
    """

    def __init__(
        self,
        device: torch.device,
        checkpoints: CheckpointStore,
        feature_directory: Path | None = None,
        feature_bytes: int | None = None,
    ) -> None:
        self.device = device
        self.checkpoints = checkpoints
        self.features = FeatureCache(device, feature_directory, feature_bytes)
        self.passes = FeatureCache(device, None, 0)
        self._resident: tuple[str, Tensor, Tensor] | None = None
        self._statistics: dict[tuple[str, int, str], InputStatistics] = {}

    def images(self, dataset: Dataset) -> tuple[Tensor, Tensor]:
        """Pixels (N, H, W, C) and labels on the device, for as long as no other data set is asked for."""
        if self._resident is None or self._resident[0] != dataset.info.digest:
            self._resident = None
            with typed_out_of_memory():
                pixels = torch.from_numpy(dataset.images).to(self.device)
                labels = torch.from_numpy(dataset.labels).to(self.device)
            self._resident = (dataset.info.digest, pixels, labels)
        return self._resident[1], self._resident[2]

    def pixel_statistics(self, dataset: Dataset, use: DataUse) -> InputStatistics:
        """What the first stage subtracts from pixels and divides them by."""
        key = (dataset.info.digest, use.train, use.preprocessing)
        if key not in self._statistics:
            mean, std = input_mean_and_std(dataset.images[: use.train], use.preprocessing)
            self._statistics[key] = InputStatistics(torch.from_numpy(mean).float(), torch.from_numpy(std).float())
        return self._statistics[key]

    def stage(self, frozen: FrozenStage) -> StageCheckpoint:
        """A frozen stage out of the store. Raises CheckpointError."""
        return unpack(self.checkpoints.read(frozen.checkpoint), frozen.stage)


@dataclass(frozen=True)
class _Inputs:
    """What a stage is trained on; ``resident_bytes`` without the images."""

    train: Source
    validation: Source
    statistics: InputStatistics
    seconds: float = 0.0
    resident_bytes: int = 0
    features: KeptIn | None = None


def train_stage(
    job: StageJob,
    dataset: Dataset,
    bench: Workbench,
    on_progress: OnProgress = keep_going,
    resume: bytes | None = None,
    check: Check = unwatched,
) -> StageResult:
    """Train one stage on the frozen features of its prefix.

    Raises DataError, CheckpointError, OutOfMemory, MemoryLimitExceeded, TimeLimitExceeded, Cancelled or Paused.
    ``resume`` is the state of a paused training or a snapshot. ``check`` is for the features, ``on_progress`` for the
    training after them.
    """
    use, recipe = job.data, job.recipe
    splits = split_dataset(dataset.info, use.train, use.validation)
    pixels, labels = bench.images(dataset)
    train_images = TensorSource(pixels[splits.train], bench.device)
    validation_images = TensorSource(pixels[splits.validation], bench.device)
    inputs = _Inputs(train_images, validation_images, bench.pixel_statistics(dataset, use))
    if job.prefix:
        name = f"{dataset.info.digest}/{use.preprocessing}/{use.train}"
        train = Split(f"{name}/train", train_images)
        inputs = _features(job, train, Split(f"{name}/validation:{use.validation}", validation_images), bench, check)
    network = build_network(
        job.stage,
        dataset.info.classes,
        recipe.head,
        recipe.initialization,
        mixed_seed("weights", job.seed, len(job.prefix)),
        inputs.statistics,
    )
    training = StageTraining(
        network,
        Labelled(inputs.train, labels[splits.train]),
        Labelled(inputs.validation, labels[splits.validation]),
        recipe,
        job.point,
        job.budget,
        job.seed,
        resume,
        job.segments,
    )
    figures = training.run(on_progress)
    resident = train_images.values.nbytes + validation_images.values.nbytes + inputs.resident_bytes
    memory = replace(figures.memory, resident_bytes=resident)
    figures = replace(figures, feature_seconds=inputs.seconds, memory=memory)
    return StageResult(figures, None if figures.ending is Ending.DIVERGED else pack(network), inputs.features)


def _features(job: StageJob, train: Split, validation: Split, bench: Workbench, check: Check) -> _Inputs:
    """The outputs of the job's prefix: kept, or made again for every batch after one pass for their statistics."""
    prefix = [bench.stage(frozen) for frozen in job.prefix]
    _check_chain([frozen.stage for frozen in job.prefix], job.stage)
    recipe = job.recipe
    dtype = resolve_precision(recipe.precision, bench.device)
    statistics = InputStatistics.identity(job.stage.input_shape[0])
    if recipe.cached_features:
        kept, held_out = (bench.features.features(split, prefix, dtype, check) for split in (train, validation))
        if recipe.standardize_inputs:
            statistics = kept.statistics
        seconds, size = kept.seconds + held_out.seconds, kept.memory_bytes + held_out.memory_bytes
        # What one of the two splits had no room for slows the training down.
        slowest = max(kept.kept_in, held_out.kept_in, key=get_args(KeptIn).index)
        return _Inputs(kept.source, held_out.source, statistics, seconds, size, slowest)
    train_source, validation_source = (
        recomputed(split.images, prefix, dtype, bench.device) for split in (train, validation)
    )
    if not recipe.standardize_inputs:
        return _Inputs(train_source, validation_source, statistics, features="recomputed")
    passed = bench.passes.features(train, prefix, dtype, check)
    return _Inputs(train_source, validation_source, passed.statistics, passed.seconds, features="recomputed")


def evaluate_chain(
    chain: Sequence[FrozenStage],
    dataset: Dataset,
    precision: PrecisionChoice,
    bench: Workbench,
    check: Check = unwatched,
) -> ChainResult:
    """Test accuracy of a prefix and its last stage with its head. Raises CheckpointError or OutOfMemory."""
    begun = time.perf_counter()
    stages = [bench.stage(frozen) for frozen in chain]
    for shorter in range(1, len(chain)):
        _check_chain([frozen.stage for frozen in chain[:shorter]], chain[shorter].stage)
    last = place(stages[-1].network, bench.device)
    info = dataset.info
    if last.classes != info.classes:
        raise CheckpointError(f"the last stage tells {last.classes} classes apart, {info.name} has {info.classes}")
    dtype = resolve_precision(precision, bench.device)
    pixels, labels = bench.images(dataset)
    source = recomputed(TensorSource(pixels[info.train :], bench.device), stages[:-1], dtype, bench.device)
    with reproducible(), typed_out_of_memory():
        right = classified_rightly(last, Labelled(source, labels[info.train :]), dtype, check=check).cpu().numpy()
    return ChainResult(
        test_accuracy=int(right.sum()) / len(right),
        right=np.packbits(right, bitorder="little").tobytes(),
        images=info.test,
        seconds=time.perf_counter() - begun,
        precision=dtype_name(dtype),
        device=device_name(bench.device),
        torch_version=str(torch.__version__),
    )


def _check_chain(prefix: Sequence[Stage], stage: Stage) -> None:
    if prefix[-1].output_shape != stage.input_shape:
        raise CheckpointError(f"the prefix ends with {prefix[-1].output_shape}, the stage takes {stage.input_shape}")
