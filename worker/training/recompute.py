"""Frozen stages that run again for every batch, where their outputs are not kept."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from worker.training.data import Source
from worker.training.device import autocast, reproducible
from worker.training.network import StageNetwork

BLOCK = 50
"""Images per forward pass of a prefix, always: kernels choose their order of summation by the size of the batch."""


class StageSource:
    """Features made anew for every batch from the stage before; the values are those that would have been kept."""

    def __init__(self, parent: Source, network: StageNetwork, dtype: torch.dtype, device: torch.device) -> None:
        self.parent = parent
        self.network = network
        self.dtype = dtype
        self.device = device

    def __len__(self) -> int:
        return len(self.parent)

    def batch(self, indices: Tensor) -> Tensor:
        return in_blocks(indices, lambda part: self._block(self.parent.batch(part)))

    def batches(self, size: int) -> Iterator[Tensor]:
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))

    def _block(self, inputs: Tensor) -> Tensor:
        with reproducible():
            return frozen_pass(self.network, inputs, self.dtype)

    @property
    def prefix(self) -> tuple[StageNetwork, ...]:
        """All stages that run for a batch, the first one first."""
        before = self.parent.prefix if isinstance(self.parent, StageSource) else ()
        return (*before, self.network)

    @property
    def root(self) -> Source:
        """What the first of them reads."""
        return self.parent.root if isinstance(self.parent, StageSource) else self.parent


def in_blocks(indices: Tensor, block: Callable[[Tensor], Tensor]) -> Tensor:
    """The outputs for ``indices``, computed ``BLOCK`` at a time; a last block that is short is filled up and cut."""
    parts = [block(_padded(part)) for part in torch.split(indices, BLOCK)]
    values = parts[0] if len(parts) == 1 else torch.cat(parts)
    return values[: len(indices)]


@torch.no_grad()
def frozen_pass(network: StageNetwork, inputs: Tensor, dtype: torch.dtype) -> Tensor:
    """The features of a frozen stage, rounded to their storage type."""
    with autocast(inputs.device, dtype):
        return network.features(inputs).to(dtype)


def _padded(indices: Tensor) -> Tensor:
    missing = BLOCK - len(indices)
    return indices if missing == 0 else torch.cat([indices, indices[-1:].expand(missing)])
