"""Accuracy of a stage network, over as many images at once as frozen features are made of, if nothing else is said.

A training passes its own batch size: looking at what it learned takes no more memory than learning it, which
``limits.memory`` bounds. On CPUs no answer was seen to depend on the batch, but for batches of a single image.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from worker.training.data import Labelled
from worker.training.device import autocast
from worker.training.network import StageNetwork
from worker.training.recompute import BLOCK

Check = Callable[[], None]
"""Called between the batches of a pass; what it raises ends the pass."""


def unwatched() -> None:
    """The check of a pass that nobody stops."""


def accuracy(
    network: StageNetwork,
    data: Labelled,
    dtype: torch.dtype,
    picked: Tensor | None = None,
    check: Check = unwatched,
    batch_size: int = BLOCK,
) -> float:
    """The fraction of inputs classified rightly, in eval mode; of ``picked`` numbers (int64, CPU) alone if given."""
    found = classified_rightly(network, data, dtype, picked, check, batch_size)
    return int(found.sum()) / len(found)


@torch.no_grad()
def classified_rightly(
    network: StageNetwork,
    data: Labelled,
    dtype: torch.dtype,
    picked: Tensor | None = None,
    check: Check = unwatched,
    batch_size: int = BLOCK,
) -> Tensor:
    """Which inputs are classified rightly (bool, (n,), on the training device); otherwise as ``accuracy``."""
    device = data.labels.device
    was_training = network.training
    network.eval()
    if picked is None:
        batches = data.inputs.batches(batch_size)
        labels = torch.split(data.labels, batch_size)
    else:
        chunks = torch.split(picked, batch_size)
        batches = (data.inputs.batch(chunk) for chunk in chunks)
        labels = torch.split(data.labels[picked.to(device)], batch_size)
    found = []
    with autocast(device, dtype):
        for inputs, expected in zip(batches, labels, strict=True):
            check()
            found.append(network(inputs).argmax(1) == expected)
    network.train(was_training)
    return torch.cat(found)


def evenly_spaced(total: int, wanted: int) -> Tensor:
    """At most ``wanted`` numbers below ``total``, spread evenly, so that sorted data is sampled fairly."""
    count = min(total, wanted)
    return torch.arange(count, dtype=torch.int64) * total // count
