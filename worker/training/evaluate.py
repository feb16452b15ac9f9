"""Accuracy of a stage network."""

from collections.abc import Callable

import torch
from torch import Tensor

from worker.training.data import Labelled
from worker.training.device import autocast
from worker.training.network import StageNetwork

EVALUATION_BATCH = 500

Check = Callable[[], None]
"""Called between the batches of a pass; what it raises ends the pass."""


def unwatched() -> None:
    """The check of a pass that nobody stops."""


@torch.no_grad()
def accuracy(
    network: StageNetwork,
    data: Labelled,
    dtype: torch.dtype,
    picked: Tensor | None = None,
    check: Check = unwatched,
) -> float:
    """The fraction of inputs classified rightly, in eval mode; of ``picked`` numbers (int64, CPU) alone if given."""
    device = data.labels.device
    was_training = network.training
    network.eval()
    right = torch.zeros((), dtype=torch.int64, device=device)
    if picked is None:
        batches = data.inputs.batches(EVALUATION_BATCH)
        labels = torch.split(data.labels, EVALUATION_BATCH)
    else:
        chunks = torch.split(picked, EVALUATION_BATCH)
        batches = (data.inputs.batch(chunk) for chunk in chunks)
        labels = torch.split(data.labels[picked.to(device)], EVALUATION_BATCH)
    with autocast(device, dtype):
        for inputs, expected in zip(batches, labels, strict=True):
            check()
            right += (network(inputs).argmax(1) == expected).sum()
    network.train(was_training)
    return int(right) / (len(data) if picked is None else len(picked))


def evenly_spaced(total: int, wanted: int) -> Tensor:
    """At most ``wanted`` numbers below ``total``, spread evenly, so that sorted data is sampled fairly."""
    count = min(total, wanted)
    return torch.arange(count, dtype=torch.int64) * total // count
