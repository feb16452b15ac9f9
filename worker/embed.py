"""t-SNE of the features of every stage of a chain, over the same points of the test set."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from openTSNE import TSNE
from safetensors.torch import save
from sklearn.decomposition import PCA
from torch import Tensor

from worker.control import Control, TaskFailed
from worker.data.store import Dataset
from worker.features import Split
from worker.stage_training import FrozenStage, Workbench
from worker.training.data import TensorSource
from worker.training.device import device_name, dtype_name, resolve_precision, typed_out_of_memory
from worker.training.evaluate import evenly_spaced
from worker.training.spec import PrecisionChoice

COMPONENTS = 50
SEED = 0
CHECK_ITERATIONS = 25
BATCH = 500

Values = NDArray[np.float32]


@dataclass(frozen=True)
class StageFigures:
    """Dimensions of a stage's features, components that PCA kept of them, seconds from the stage to its picture."""

    dimensions: int
    components: int
    seconds: float


@dataclass(frozen=True)
class Embedding:
    """``content`` is the safetensors file that the protocol describes."""

    content: bytes
    points: int
    stages: tuple[StageFigures, ...]
    precision: str
    device: str
    torch_version: str


def embed_chain(
    chain: Sequence[FrozenStage],
    dataset: Dataset,
    points: int,
    perplexity: float,
    precision: PrecisionChoice,
    bench: Workbench,
    control: Control,
) -> Embedding:
    """t-SNE of every stage, first to last, over ``points`` test images, or all if there are fewer.

    The same weights and points give the same picture. Raises TaskFailed if the points are too few for the perplexity,
    CheckpointError, OutOfMemory or Stopped.
    """
    info, device = dataset.info, bench.device
    pixels, labels = bench.images(dataset)
    test_labels = labels[info.train :].cpu()
    picked = stratified(test_labels, points)
    _check_perplexity(perplexity, len(picked))
    dtype = resolve_precision(precision, device)
    images = TensorSource(pixels[info.train :].index_select(0, picked.to(pixels.device)), device)
    split = Split(f"{info.digest}/points:{len(picked)}", images)
    stages = [bench.stage(frozen) for frozen in chain]
    figures = []
    tensors = {"labels": test_labels[picked].float(), "images": picked.float()}
    for number in range(len(stages)):
        control.advance(number / len(stages))
        begun = time.perf_counter()
        features = bench.features.features(split, stages[: number + 1], dtype, control.check)
        mean, std = features.statistics.mean.to(device), features.statistics.std.to(device)
        with typed_out_of_memory():
            rows = []
            for batch in features.source.batches(BATCH):
                control.check()
                rows.append(((batch.float() - mean) / std).flatten(1).cpu())
            coordinates, components = picture(torch.cat(rows).numpy(), perplexity, control)
        tensors[f"stage-{number + 1}"] = torch.from_numpy(coordinates)
        figures.append(StageFigures(rows[0].shape[1], components, time.perf_counter() - begun))
    return Embedding(
        content=save(tensors),
        points=len(picked),
        stages=tuple(figures),
        precision=dtype_name(dtype),
        device=device_name(device),
        torch_version=str(torch.__version__),
    )


def stratified(labels: Tensor, points: int) -> Tensor:
    """At most ``points`` numbers of labels, rising, every class with its share, spread evenly within each class."""
    by_class = torch.argsort(labels, stable=True)
    return by_class[evenly_spaced(len(labels), points)].sort().values


def picture(values: Values, perplexity: float, control: Control) -> tuple[Values, int]:
    """Coordinates (n, 2) of values (n, d), and the components PCA kept. Features that never vary are left out."""
    varying = values[:, values.min(0) < values.max(0)]
    if varying.shape[1] < 2:
        # A dead stage shows all its points in one place, which t-SNE cannot.
        return np.pad(varying, ((0, 0), (0, 2 - varying.shape[1]))), 1
    components = min(COMPONENTS, *varying.shape)
    reduced = PCA(components, svd_solver="randomized", random_state=SEED).fit_transform(varying)
    tsne = TSNE(
        perplexity=perplexity,
        initialization="pca",
        learning_rate="auto",
        # Approximate ones depend on the number of threads, and 50 components of some thousand points are no work.
        neighbors="exact",
        n_jobs=torch.get_num_threads(),
        random_state=SEED,
        callbacks=lambda *_: control.check(),
        callbacks_every_iters=CHECK_ITERATIONS,
    )
    return np.asarray(tsne.fit(reduced), dtype=np.float32), components


def _check_perplexity(perplexity: float, points: int) -> None:
    """Every point needs three times the perplexity of neighbours; the library would quietly take fewer."""
    if 3 * perplexity > points - 1:
        raise TaskFailed(
            "user-error",
            f"{points} points are too few for a perplexity of {perplexity:g}; ask for "
            f"{math.ceil(3 * perplexity) + 1} points or more, or a perplexity of at most {(points - 1) / 3:.3g}",
        )
