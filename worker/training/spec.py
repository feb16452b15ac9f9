"""What is trained and how, as plain values. Shapes are (channels, height, width)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Shape = tuple[int, int, int]
PrecisionChoice = Literal["auto", "float32", "bfloat16"]
Initialization = Literal["he", "torch"]
Objective = Literal["classification", "reconstruction", "contrastive"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Conv:
    """size x size convolution with as many filters, same padding, ReLU."""

    size: int
    filters: int


@dataclass(frozen=True)
class Pool:
    """size x size max pooling with stride size; what is left over at the border is dropped."""

    size: int


Layer = Conv | Pool


@dataclass(frozen=True)
class Stage:
    """Consecutive layers trained together; ``norms`` are those whose inputs are normalised inside the network."""

    layers: tuple[Layer, ...]
    input_shape: Shape
    output_shape: Shape
    norms: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("a stage needs at least one layer")
        shape = self.shapes[-1]
        if shape != self.output_shape or min(shape) < 1:
            raise ValueError(f"the layers turn {self.input_shape} into {shape}, the stage says {self.output_shape}")
        if list(self.norms) != sorted(set(self.norms) & set(range(len(self.layers)))):
            raise ValueError(f"norms are numbers of the {len(self.layers)} layers in rising order, not {self.norms}")

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The output shape of every layer."""
        shapes = []
        channels, height, width = self.input_shape
        for layer in self.layers:
            match layer:
                case Conv(size, filters):
                    if size < 1 or filters < 1:
                        raise ValueError(f"{layer} has no extent")
                    channels = filters
                case Pool(size):
                    if size < 1:
                        raise ValueError(f"{layer} has no extent")
                    height, width = height // size, width // size
            shapes.append((channels, height, width))
        return tuple(shapes)


@dataclass(frozen=True)
class Recipe:
    """Everything about a training that is neither searched nor a budget."""

    batch_size: int = 50
    optimizer: Literal["sgd"] = "sgd"
    momentum: float = 0.9
    precision: PrecisionChoice = "auto"
    initialization: Initialization = "torch"
    standardize_inputs: bool = True
    head: str = "linear"
    objective: Objective = "classification"
    cached_features: bool = True
    schedule: Schedule = "constant"


@dataclass(frozen=True)
class Hyperparameters:
    """A point of the search space; the regularization is the weight decay of weights, biases have none.

    ``more`` are the axes of a scheme, by name: ``learning_rate_factor`` from layer to layer, or ``learning_rate_2`` of
    the second convolution.
    """

    learning_rate: float
    regularization: float
    more: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Limits:
    """Bounds of one training: memory in bytes, time in seconds of training and evaluation."""

    memory: int | None = None
    time: float | None = None


@dataclass(frozen=True)
class Budget:
    """How long a training may go on; ``pruned``: it may be ended early by what is measured on the way."""

    epochs: int
    limits: Limits = Limits()
    pruned: bool = False


class Command(StrEnum):
    """What a training is to do after it told its progress."""

    CONTINUE = "continue"
    PRUNE = "prune"
    PAUSE = "pause"
    CANCEL = "cancel"


class Ending(StrEnum):
    """How a training ended that has figures to show."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class CurvePoint:
    """One measurement: optimiser steps and epochs done, accuracy, mean training loss since the last one."""

    step: int
    epoch: float
    validation_accuracy: float
    loss: float
