"""A stage as a network: input standardisation, layers, head."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from worker.training.heads import HEADS, BatchNorm
from worker.training.spec import Conv, Initialization, Pool, Stage

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class InputStatistics:
    """What is subtracted from a stage's inputs, (C, 1, 1) or (C, H, W), and what they are divided by, (C, 1, 1)."""

    mean: Tensor
    std: Tensor

    @staticmethod
    def identity(channels: int, scale: float = 1.0) -> "InputStatistics":
        """Subtract nothing, divide by ``scale``."""
        return InputStatistics(torch.zeros(channels, 1, 1), torch.full((channels, 1, 1), scale))


class StageNetwork(nn.Module):
    """One stage with its temporary or final head. ``features`` is what the next stage sees, ``forward`` the logits.

    Training keeps activations at the layers ``segments`` only and computes the others again for the backward pass;
    without segments it keeps all.
    """

    input_mean: Tensor
    input_std: Tensor

    def __init__(self, stage: Stage, classes: int, head: str = "linear") -> None:
        super().__init__()
        self.stage = stage
        self.classes = classes
        self.head_name = head
        self.segments: tuple[int, ...] = ()
        channels = stage.input_shape[0]
        self.register_buffer("input_mean", torch.zeros(channels, 1, 1))
        self.register_buffer("input_std", torch.ones(channels, 1, 1))
        convolutions, norms = {}, {}
        for position, layer in enumerate(stage.layers):
            if position in stage.norms:
                norms[str(position)] = BatchNorm(channels, affine=False)
            if isinstance(layer, Conv):
                convolutions[position] = nn.Conv2d(channels, layer.filters, layer.size, padding=_padding(layer.size))
                channels = layer.filters
        self.convolutions = nn.ModuleList(convolutions.values())
        self.norms = nn.ModuleDict(norms)
        self.head = HEADS[head](stage.output_shape, classes)
        self._numbers = {position: number for number, position in enumerate(convolutions)}
        self._rectified = _rectified(stage)

    def set_input_statistics(self, statistics: InputStatistics) -> None:
        """Standardise inputs with these from now on."""
        self.input_mean = statistics.mean.float().to(self.input_mean.device)
        self.input_std = statistics.std.float().to(self.input_std.device)

    def standardized(self, inputs: Tensor) -> Tensor:
        """(n, C, H, W) raw inputs, standardised in float32."""
        return (inputs - self.input_mean).div_(self.input_std)

    def transformed(self, values: Tensor) -> Tensor:
        """(n, C, H, W) standardised inputs to (n, C', H', W') features."""
        recomputing = bool(self.segments) and self.training and torch.is_grad_enabled()
        last = len(self.stage.layers)
        cuts = {*self.stage.norms, *(self.segments if recomputing else ())}
        for start, stop in pairwise(sorted({0, last} | cuts)):
            # Outside of what is computed twice, so that running statistics are updated once.
            if start in self.stage.norms:
                values = self.norms[str(start)](values)
            # The backward pass begins with the last layers: to forget them would save nothing.
            if recomputing and stop < last:
                values = checkpoint(self._layers, values, start, stop, use_reentrant=False, preserve_rng_state=False)
            else:
                values = self._layers(values, start, stop)
        return values

    def _layers(self, values: Tensor, start: int, stop: int) -> Tensor:
        for position in range(start, stop):
            match self.stage.layers[position]:
                case Conv(size):
                    if size % 2 == 0:
                        values = functional.pad(values, (size // 2 - 1, size // 2) * 2)
                    values = self.convolutions[self._numbers[position]](values)
                case Pool(size):
                    values = functional.max_pool2d(values, size)
            if position in self._rectified:
                values = functional.relu_(values)
        return values

    def features(self, inputs: Tensor) -> Tensor:
        """(n, C, H, W) raw inputs to (n, C', H', W') features."""
        return self.transformed(self.standardized(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.features(inputs))  # type: ignore[no-any-return]


def _rectified(stage: Stage) -> frozenset[int]:
    """The layers whose output is rectified in place.

    Maximum and ReLU commute; rectifying after the pools that follow a convolution touches a fraction of the values.
    """
    found, pending = set(), False
    for position, layer in enumerate(stage.layers):
        pending = pending or isinstance(layer, Conv)
        after = position + 1
        pooled = after < len(stage.layers) and isinstance(stage.layers[after], Pool) and after not in stage.norms
        if pending and not pooled:
            found.add(position)
            pending = False
    return frozenset(found)


def _padding(size: int) -> int:
    # An even kernel needs one row more after than before, which a convolution does not pad by itself.
    return size // 2 if size % 2 else 0


def place(module: Module, device: torch.device) -> Module:
    """The module itself, moved to the device in channels-last layout."""
    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def initialized(make: Callable[[], Module], initialization: Initialization, seed: int) -> Module:
    """A fresh module on the CPU. Its weights depend on the seed alone, whatever device trains it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
        if initialization == "he":
            for part in module.modules():
                if isinstance(part, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
                    if part.bias is not None:
                        nn.init.zeros_(part.bias)
    return module


def build_network(
    stage: Stage, classes: int, head: str, initialization: Initialization, seed: int, statistics: InputStatistics
) -> StageNetwork:
    """A fresh network on the CPU that standardises its inputs with ``statistics``."""
    network = initialized(lambda: StageNetwork(stage, classes, head), initialization, seed)
    network.set_input_statistics(statistics)
    return network
