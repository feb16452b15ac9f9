"""Where a training takes its inputs from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Source(Protocol):
    """Inputs of a stage by number: pixels as uint8, or frozen features in their storage type."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """The inputs of these numbers (int64, CPU) as (n, C, H, W) in channels-last layout on the training device."""

    def batches(self, size: int) -> Iterator[Tensor]:
        """All inputs in their order, ``size`` at a time."""


class TensorSource:
    """A source over one resident tensor of shape (N, H, W, C), on the training device or beside it."""

    def __init__(self, values: Tensor, device: torch.device) -> None:
        self.values = values
        self.device = device

    def __len__(self) -> int:
        return self.values.shape[0]

    def batch(self, indices: Tensor) -> Tensor:
        picked = self.values.index_select(0, indices.to(self.values.device))
        return picked.to(self.device).permute(0, 3, 1, 2)

    def batches(self, size: int) -> Iterator[Tensor]:
        for start in range(0, len(self), size):
            yield self.values[start : start + size].to(self.device).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Labelled:
    """A source and its labels (int64, on the training device)."""

    inputs: Source
    labels: Tensor

    def __len__(self) -> int:
        return self.labels.shape[0]
