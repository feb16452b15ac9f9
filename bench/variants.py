"""Claim: Partial trains a network in less memory than Total, and its stages together in about Total's time.

Every network of the paper's Table 1 is trained once in every way: Total, Total with gradient checkpointing at the cuts,
Partial on frozen features that were made once, and Partial that runs the prefix again for every batch, as the paper had
to. One worker's thread, the same images, in turns. Seconds are of one epoch per stage without evaluation, features
included; memory is the peak of a training step, of a variant that of its largest stage.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
import yaml

from bench.machine import describe
from service.domain.layers import Conv as PlannedConv
from service.domain.layers import Stage as PlannedStage
from service.domain.notation import parse
from service.domain.shapes import resolve
from service.presets import get_preset
from worker.checkpoints import CheckpointStore
from worker.data.library import open_dataset
from worker.data.store import Dataset
from worker.stage_training import DataUse, FrozenStage, StageJob, Workbench, train_stage
from worker.training.spec import Budget, Conv, Hyperparameters, Pool, Recipe, Stage

POINT = Hyperparameters(learning_rate=3e-3, regularization=1e-4)
VALIDATION = 100
MIB = 1 << 20


@dataclass(frozen=True)
class Cost:
    """Of one variant: seconds of all stages, bytes of the largest."""

    seconds: float
    peak_bytes: int


class Lab:
    """Trains chains of stages on one device, and forgets all features after each."""

    def __init__(self, dataset: Dataset, train: int, folder: Path) -> None:
        self.dataset = dataset
        self.use = DataUse(train, VALIDATION)
        self.store = CheckpointStore(folder)
        self.bench = Workbench(torch.device("cpu"), self.store)

    def cost(self, stages: Sequence[Stage], recipe: Recipe, segments: tuple[int, ...] = ()) -> Cost:
        """Train the stages one after the other, each on the frozen ones before it."""
        frozen: list[FrozenStage] = []
        seconds, peak = 0.0, 0
        for stage in stages:
            job = StageJob(stage, tuple(frozen), self.use, recipe, POINT, Budget(epochs=1), 0, segments)
            result = train_stage(job, self.dataset, self.bench)
            assert result.checkpoint is not None
            frozen.append(FrozenStage(stage, self.store.put(result.checkpoint)))
            seconds += result.training.training_seconds + result.training.feature_seconds
            peak = max(peak, result.training.memory.peak_bytes)
        self.bench.features.clear()
        self.bench.passes.clear()
        return Cost(seconds, peak)


def trained_stage(planned: PlannedStage) -> Stage:
    """A planned stage in the training room's words."""
    layers = tuple(
        Conv(layer.size, layer.filters) if isinstance(layer, PlannedConv) else Pool(layer.size)
        for layer in planned.layers
    )
    return Stage(layers, planned.input_shape, planned.output_shape)


def whole(stages: Sequence[Stage]) -> Stage:
    """The network without its cuts."""
    layers = tuple(layer for stage in stages for layer in stage.layers)
    return Stage(layers, stages[0].input_shape, stages[-1].output_shape)


def cuts(stages: Sequence[Stage]) -> tuple[int, ...]:
    """The layers at which the stages after the first begin."""
    return tuple(sum(len(stage.layers) for stage in stages[:depth]) for depth in range(1, len(stages)))


def ways(lab: Lab, stages: Sequence[Stage], recipe: Recipe) -> list[Cost]:
    """The costs of one network, in the order of the table's columns."""
    one = [whole(stages)]
    return [
        lab.cost(one, recipe),
        lab.cost(one, recipe, cuts(stages)),
        lab.cost(stages, recipe),
        lab.cost(stages, replace(recipe, cached_features=False)),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench variants")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    home = Path(os.environ.get("STAGETUNE_HOME") or Path.home() / ".stagetune")
    folder = os.environ.get("STAGETUNE_DATASETS")
    dataset = open_dataset("cifar10", home, Path(folder) if folder else None)
    recipe = Recipe(batch_size=50)
    print(f"One epoch per stage over {options.images:,} images of CIFAR-10, batch 50, {options.rounds} rounds in turns")
    print(f"\n{describe('torch')}, {torch.get_num_threads()} threads; seconds are medians, memory in MiB\n")
    print("| network | Total | with checkpointing | Partial | Partial / Total | prefix recomputed | memory: Total "
          "| with checkpointing | Partial |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as checkpoints:
        lab = Lab(dataset, options.images, Path(checkpoints))
        for name, texts in yaml.safe_load(get_preset("viable").text)["architectures"].items():
            stages = [trained_stage(stage) for stage in resolve([parse(text) for text in texts], (3, 32, 32))]
            lab.cost([whole(stages)], recipe)
            rounds = [ways(lab, stages, recipe) for _ in range(options.rounds)]
            total, checkpointed, partial, recomputed = (median(r[way].seconds for r in rounds) for way in range(4))
            peaks = [cost.peak_bytes / MIB for cost in rounds[0]]
            print(
                f"| {name} | {total:.2f} s | {checkpointed:.2f} s | {partial:.2f} s | {partial / total:.2f} "
                f"| {recomputed:.2f} s | {peaks[0]:.1f} | {peaks[1]:.1f} | {peaks[2]:.1f} |",
                flush=True,
            )
