"""Layers, stages and shapes: the structured form of the paper's notation."""

from dataclasses import dataclass
from typing import Literal

Shape = tuple[int, int, int]
"""Channels, height, width."""


@dataclass(frozen=True, slots=True)
class Conv:
    """``Conv-n-m``: n x n convolution with m filters, same padding, ReLU."""

    size: int
    filters: int
    kind: Literal["conv"] = "conv"


@dataclass(frozen=True, slots=True)
class Pool:
    """``Pool-n``: n x n max pooling with stride n."""

    size: int
    kind: Literal["pool"] = "pool"


Layer = Conv | Pool


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive layers trained together, with the shapes that go in and come out.

    ``norms`` are the numbers of the layers whose inputs are normalised inside the network, as Partial Learning
    standardises what comes in at a cut; only Total Learning has any.
    """

    layers: tuple[Layer, ...]
    input_shape: Shape
    output_shape: Shape
    norms: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network with its cuts: an ordered list of stages, each a tuple of layers."""

    name: str
    stages: tuple[tuple[Layer, ...], ...]
