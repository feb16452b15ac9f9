"""The classifiers on top of a stage, and normalisation per channel.

service/domain/shapes.py counts their parameters without torch.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.training.spec import Shape

POOLED = 2
"""Every head but the linear one averages its features down to this many rows and columns."""
HIDDEN = 128
"""Units of the hidden layer of the head ``mlp``."""


class BatchNorm(nn.Module):
    """Normalisation per channel: by the batch in training, by running statistics in eval mode.

    nn.BatchNorm2d would bring an int64 buffer, and checkpoints hold float32 alone.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, affine: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, values: Tensor) -> Tensor:
        # One value per channel has no variance: the last batch of an epoch may be a single image of 1 x 1.
        by_batch = self.training and values.numel() > values.shape[1]
        return functional.batch_norm(
            values, self.running_mean, self.running_var, self.weight, self.bias, training=by_batch
        )


class LinearHead(nn.Module):
    """Fully connected: every feature to every class. Features are flattened as (height, width, channel)."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(shape), classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(flattened(features))  # type: ignore[no-any-return]


class PooledLinearHead(nn.Module):
    """Normalised, averaged to at most 2 x 2, fully connected."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.norm = BatchNorm(shape[0])
        self.linear = nn.Linear(pooled_values(shape), classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(pooled(self.norm(features)))  # type: ignore[no-any-return]


class MlpHead(nn.Module):
    """The same with a hidden layer."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.norm = BatchNorm(shape[0])
        self.hidden = nn.Linear(pooled_values(shape), HIDDEN)
        self.linear = nn.Linear(HIDDEN, classes)

    def forward(self, features: Tensor) -> Tensor:
        hidden = functional.relu_(self.hidden(pooled(self.norm(features))))
        return self.linear(hidden)  # type: ignore[no-any-return]


class ConvHead(nn.Module):
    """3 x 3 convolutions with as many channels as the features, normalised and rectified; then as the pooled one."""

    def __init__(self, shape: Shape, classes: int, depth: int) -> None:
        super().__init__()
        channels = shape[0]
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth))
        self.norms = nn.ModuleList(BatchNorm(channels) for _ in range(depth))
        self.linear = nn.Linear(pooled_values(shape), classes)

    def forward(self, features: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features = functional.relu_(norm(convolution(features)))
        return self.linear(pooled(features))  # type: ignore[no-any-return]


HEADS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "linear": LinearHead,
    "pooled-linear": PooledLinearHead,
    "mlp": MlpHead,
    "conv1": lambda shape, classes: ConvHead(shape, classes, 1),
    "conv2": lambda shape, classes: ConvHead(shape, classes, 2),
}


def flattened(features: Tensor) -> Tensor:
    """(n, C, H, W) to (n, H W C): channels last is how features lie in memory, so this copies nothing."""
    return features.permute(0, 2, 3, 1).flatten(1)


def pooled(features: Tensor) -> Tensor:
    """(n, C, H, W) averaged to at most 2 x 2, and flattened."""
    _, _, height, width = features.shape
    return flattened(functional.adaptive_avg_pool2d(features, (min(height, POOLED), min(width, POOLED))))


def pooled_values(shape: Shape) -> int:
    """How many values ``pooled`` leaves of features of this shape."""
    channels, height, width = shape
    return channels * min(height, POOLED) * min(width, POOLED)
