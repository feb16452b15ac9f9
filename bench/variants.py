"""Question: what does Partial cost against Total, in seconds and in memory?

Every network of the paper's Table 1 is trained once in every way: Total, Total with gradient checkpointing at the cuts,
Partial on frozen features that were made once, and Partial that runs the prefix again for every batch, as the paper had
to. The same images, in turns. Seconds are of one epoch per stage without evaluation, features
included; memory is the peak of a training step, of a variant that of its largest stage.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from pathlib import Path
from statistics import median

import torch
import yaml

from bench.machine import cifar10, describe
from contract.tasks import StageShape
from service.domain.layers import Layer
from service.domain.notation import parse
from service.domain.shapes import resolve
from service.presets import get_preset
from worker.checkpoints import CheckpointStore
from worker.data import Dataset
from worker.stage_training import DataUse, FrozenStage, StageJob, Workbench, train_stage
from worker.stages import stage_of
from worker.training.spec import Budget, Hyperparameters, Recipe, Stage

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


def trained(stages: Sequence[tuple[Layer, ...]], shape: tuple[int, int, int]) -> list[Stage]:
    """Stages in the training room's words, for images of ``shape`` (channels, height, width)."""
    return [stage_of(StageShape.model_validate(stage, from_attributes=True)) for stage in resolve(stages, shape)]


def ways(lab: Lab, network: Sequence[tuple[Layer, ...]], recipe: Recipe) -> list[Cost]:
    """The costs of one network, in the order of the table's columns."""
    shape = lab.dataset.info.shape
    stages, whole = trained(network, shape), trained([tuple(chain.from_iterable(network))], shape)
    cuts = tuple(accumulate(len(stage) for stage in network))[:-1]
    return [
        lab.cost(whole, recipe),
        lab.cost(whole, recipe, cuts),
        lab.cost(stages, recipe),
        lab.cost(stages, replace(recipe, cached_features=False)),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench variants")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    dataset = cifar10()
    recipe = Recipe(batch_size=50)
    print(f"One epoch per stage over {options.images:,} images of CIFAR-10, batch 50, {options.rounds} rounds in turns")
    print(f"\n{describe('torch')}, {torch.get_num_threads()} threads; seconds are medians, memory in MiB\n")
    print("| network | Total | with checkpointing | Partial | Partial / Total | prefix recomputed | memory: Total "
          "| with checkpointing | Partial |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as checkpoints:
        lab = Lab(dataset, options.images, Path(checkpoints))
        for name, texts in yaml.safe_load(get_preset("viable").text)["architectures"].items():
            network = [parse(text) for text in texts]
            # One more first, which warms the kernels up.
            _, *rounds = [ways(lab, network, recipe) for _ in range(options.rounds + 1)]
            total, checkpointed, partial, recomputed = (median(r[way].seconds for r in rounds) for way in range(4))
            peaks = [cost.peak_bytes / MIB for cost in rounds[0]]
            print(
                f"| {name} | {total:.2f} s | {checkpointed:.2f} s | {partial:.2f} s | {partial / total:.2f} "
                f"| {recomputed:.2f} s | {peaks[0]:.1f} | {peaks[1]:.1f} | {peaks[2]:.1f} |",
                flush=True,
            )
