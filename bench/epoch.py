"""Claim: an epoch of CNN 1 on CIFAR-10 takes a fraction of what a plain PyTorch loop takes on the same machine.

The plain loop is what a user would write: a Dataset that returns one normalised image, a shuffling DataLoader with two
worker processes, float32, SGD with momentum. Both train CNN 1 at batch 50 on the same 10,000 images, in turns.
"""

import argparse
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from bench.machine import against, cifar10, describe
from worker.data.preprocessing import input_mean_and_std
from worker.training.data import Labelled, TensorSource
from worker.training.loop import StageTraining
from worker.training.network import InputStatistics, build_network
from worker.training.spec import Budget, Conv, Hyperparameters, Pool, Recipe, Stage

IMAGES = 10_000
BATCH = 50
POINT = Hyperparameters(learning_rate=1e-2, regularization=5e-4)
CNN_1 = Stage((Conv(3, 32), Conv(3, 32), Pool(2)), (3, 32, 32), (32, 16, 16))


class Images(TorchDataset[tuple[Tensor, int]]):
    """One normalised image at a time, as tutorials do it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self.mean, self.std = (
            torch.tensor([0.49, 0.48, 0.45]).view(3, 1, 1),
            torch.tensor([0.25, 0.24, 0.26]).view(3, 1, 1),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(self.images[index]).permute(2, 0, 1).float().div(255)
        return (image - self.mean) / self.std, int(self.labels[index])


def plain_epoch(images: np.ndarray, labels: np.ndarray) -> float:
    """Seconds of one epoch of the plain loop."""
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 16 * 16, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(
        network.parameters(), lr=POINT.learning_rate, momentum=0.9, weight_decay=POINT.regularization
    )
    loader = DataLoader(Images(images, labels), batch_size=BATCH, shuffle=True, num_workers=2)
    started = time.perf_counter()
    for inputs, targets in loader:
        optimizer.zero_grad()
        functional.cross_entropy(network(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return time.perf_counter() - started


def our_epoch(images: np.ndarray, labels: np.ndarray) -> float:
    """Seconds of one epoch as a worker trains it, without evaluation."""
    device = torch.device("cpu")
    mean, std = input_mean_and_std(images, "standardize")
    statistics = InputStatistics(torch.from_numpy(mean).float(), torch.from_numpy(std).float())
    network = build_network(CNN_1, 10, "linear", "he", 0, statistics)
    data = Labelled(TensorSource(torch.from_numpy(images), device), torch.from_numpy(labels).long())
    few = Labelled(TensorSource(torch.from_numpy(images[:BATCH]), device), torch.from_numpy(labels[:BATCH]).long())
    result = StageTraining(network, data, few, Recipe(batch_size=BATCH), POINT, Budget(epochs=1), seed=0).run()
    return result.training_seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench epoch")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    dataset = cifar10()
    images, labels = np.array(dataset.images[:IMAGES]), np.array(dataset.labels[:IMAGES])
    our_epoch(images[:500], labels[:500])
    ours, plain = [], []
    for _ in range(rounds):
        ours.append(our_epoch(images, labels))
        plain.append(plain_epoch(images, labels))
    print(f"One epoch of CNN 1 over {IMAGES} images of CIFAR-10, batch {BATCH}, {rounds} rounds in turns\n")
    print(f"{describe('torch')}; instead: a DataLoader with 2 processes, float32\n")
    print("| | median | range |\n|---|---|---|")
    print(against(ours, plain, "s"))
