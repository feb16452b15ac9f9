"""How well the features of every stage tell the classes apart: its own head, and the nearest neighbours."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from worker.control import Control
from worker.data.splits import split_dataset
from worker.data.store import Dataset
from worker.features import Split
from worker.stage_training import ChainResult, DataUse, FrozenStage, Workbench
from worker.training.data import Labelled, Source, TensorSource
from worker.training.device import reproducible, resolve_precision, typed_out_of_memory
from worker.training.evaluate import Check, accuracy, evenly_spaced, unwatched
from worker.training.network import InputStatistics, place
from worker.training.spec import PrecisionChoice

NEIGHBOURS = 20
CELLS = 4
"""Neighbours are looked for in features averaged over a grid of so many cells a side."""
BANK_IMAGES = 10_000
QUERIES = 1_000
BLOCK_BYTES = 256 << 20
"""What a block of the bank may take in float32; with ``QUERIES`` it bounds the memory of a search."""


@dataclass(frozen=True)
class Probe:
    """Accuracies of one stage on the test set: of its head, and of the nearest training images in its features."""

    head_accuracy: float
    knn_accuracy: float


def probe_chain(
    chain: Sequence[FrozenStage],
    tested: ChainResult,
    dataset: Dataset,
    use: DataUse,
    precision: PrecisionChoice,
    bench: Workbench,
    control: Control,
) -> tuple[Probe, ...]:
    """Every stage of a chain, first to last; the last one's head is the final one, which ``tested`` has measured.

    Neighbours are looked for among ``BANK_IMAGES`` training images. Raises CheckpointError, DataError, OutOfMemory or
    Stopped.
    """
    info, device = dataset.info, bench.device
    splits = split_dataset(info, use.train, use.validation)
    dtype = resolve_precision(precision, device)
    pixels, labels = bench.images(dataset)
    picked = evenly_spaced(use.train, BANK_IMAGES).to(device)
    bank_images = TensorSource(pixels[splits.train].index_select(0, picked), device)
    bank = Split(f"{info.digest}/bank:{use.train}", bank_images)
    test = Split(f"{info.digest}/test", TensorSource(pixels[splits.test], device))
    bank_labels, test_labels = labels[splits.train].index_select(0, picked), labels[splits.test]
    stages = [bench.stage(frozen) for frozen in chain]
    probes = []
    inputs: Source = test.images
    for depth in range(1, len(stages) + 1):
        control.advance((depth - 1) / len(stages))
        head = tested.test_accuracy
        if depth < len(stages):
            network = place(stages[depth - 1].network, device)
            with reproducible(), typed_out_of_memory():
                head = accuracy(network, Labelled(inputs, test_labels), dtype, check=control.check)
        known = bench.features.features(bank, stages[:depth], dtype, control.check)
        asked = bench.features.features(test, stages[:depth], dtype, control.check)
        with typed_out_of_memory():
            labelled = Labelled(Averaged(known.source).kept(device, control.check), bank_labels)
            told = nearest_classes(labelled, Averaged(asked.source), known.statistics, dtype, control.check)
        probes.append(Probe(head, int((told == test_labels).sum()) / len(test_labels)))
        inputs = asked.source
    return tuple(probes)


class Averaged:
    """Features as float32 means over a grid of ``CELLS`` x ``CELLS``, or as they are where they are no larger.

    Euclidean distance compares place by place: between whole maps it finds images with the same thing in the same
    place, the more so the larger the maps. On one grid stages of every size are measured alike.
    """

    def __init__(self, features: Source) -> None:
        self._features = features

    def __len__(self) -> int:
        return len(self._features)

    def batch(self, indices: Tensor) -> Tensor:
        return _means(self._features.batch(indices))

    def batches(self, size: int) -> Iterator[Tensor]:
        return map(_means, self._features.batches(size))

    def kept(self, device: torch.device, check: Check = unwatched) -> TensorSource:
        """All of them, made once: for what is read in large blocks."""
        means = []
        for values in self.batches(QUERIES):
            check()
            means.append(values.permute(0, 2, 3, 1))
        return TensorSource(torch.cat(means), device)


def _means(values: Tensor) -> Tensor:
    height, width = values.shape[2:]
    return adaptive_avg_pool2d(values.float(), (min(height, CELLS), min(width, CELLS)))


@torch.no_grad()
def nearest_classes(
    bank: Labelled, queries: Source, statistics: InputStatistics, dtype: torch.dtype, check: Check = unwatched
) -> Tensor:
    """The class (int64, (n,)) that most of the ``NEIGHBOURS`` nearest inputs of the bank have.

    Distances are Euclidean between inputs standardised by ``statistics`` and rounded to ``dtype``. Of two inputs
    equally near the first in the bank counts, of two classes with as many votes that of the nearer input.
    """
    device = bank.labels.device
    mean, std = statistics.mean.to(device), statistics.std.to(device)

    def standardised(values: Tensor) -> Tensor:
        return ((values.float() - mean) / std).to(dtype).float().permute(0, 2, 3, 1).flatten(1)

    features = bank.inputs.batch(torch.zeros(1, dtype=torch.int64)).numel()
    nearest = torch.empty((len(queries), 0), dtype=torch.int64, device=device)
    first = 0
    for block in bank.inputs.batches(max(1, BLOCK_BYTES // (4 * features))):
        known = standardised(block)
        squares = known.square().sum(1)
        numbers = torch.arange(first, first + len(known), device=device)
        found = []
        for before, batch in zip(torch.split(nearest, QUERIES), queries.batches(QUERIES), strict=True):
            check()
            asked = standardised(batch)
            with _products_in(dtype):
                distances = torch.addmm(squares, asked, known.T, alpha=-2).add_(asked.square().sum(1, keepdim=True))
            # Bits of positive floats sort as the floats do: distance, then number, in one unmistakable order.
            keys = distances.clamp_min_(0).view(torch.int32).to(torch.int64).bitwise_left_shift_(32).add_(numbers)
            keys = torch.cat([before, keys], 1)
            found.append(keys.topk(min(NEIGHBOURS, keys.shape[1]), largest=False).values)
        nearest = torch.cat(found)
        first += len(known)
    return _majority(bank.labels[nearest.bitwise_and_(0xFFFF_FFFF)])


def _majority(classes: Tensor) -> Tensor:
    """The most frequent class of every row (n, k), nearest first; of several the one that comes first."""
    counts = torch.zeros(len(classes), int(classes.max()) + 1, dtype=torch.int64, device=classes.device)
    counts.scatter_add_(1, classes, torch.ones_like(classes))
    votes = counts.gather(1, classes)
    winner = (votes == votes.amax(1, keepdim=True)).to(torch.int32).argmax(1, keepdim=True)
    return classes.gather(1, winner).squeeze(1)


@contextmanager
def _products_in(dtype: torch.dtype) -> Iterator[None]:
    """Let the CPU multiply float32 values that were rounded to bfloat16 as such; it sums in float32 all the same."""
    settings = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = settings.fp32_precision
    if dtype == torch.bfloat16:
        settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before
