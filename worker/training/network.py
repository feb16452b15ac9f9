"""A stage as a network: input standardisation, layers, head."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.training.spec import Conv, Initialization, Pool, Shape, Stage


@dataclass(frozen=True)
class InputStatistics:
    """What is subtracted from a stage's inputs, (C, 1, 1) or (C, H, W), and what they are divided by, (C, 1, 1)."""

    mean: Tensor
    std: Tensor

    @staticmethod
    def identity(channels: int, scale: float = 1.0) -> "InputStatistics":
        """Subtract nothing, divide by ``scale``."""
        return InputStatistics(torch.zeros(channels, 1, 1), torch.full((channels, 1, 1), scale))


class LinearHead(nn.Module):
    """Fully connected: every feature to every class. Features are flattened as (height, width, channel)."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(shape), classes)

    def forward(self, features: Tensor) -> Tensor:
        # Channels last is how the features lie in memory, so flattening copies nothing.
        return self.linear(features.permute(0, 2, 3, 1).flatten(1))  # type: ignore[no-any-return]


HEADS: dict[str, Callable[[Shape, int], nn.Module]] = {"linear": LinearHead}


class StageNetwork(nn.Module):
    """One stage with its temporary or final head. ``features`` is what the next stage sees, ``forward`` the logits."""

    input_mean: Tensor
    input_std: Tensor

    def __init__(self, stage: Stage, classes: int, head: str = "linear") -> None:
        super().__init__()
        self.stage = stage
        self.classes = classes
        self.head_name = head
        channels = stage.input_shape[0]
        self.register_buffer("input_mean", torch.zeros(channels, 1, 1))
        self.register_buffer("input_std", torch.ones(channels, 1, 1))
        convolutions = []
        for layer in stage.layers:
            if isinstance(layer, Conv):
                convolutions.append(nn.Conv2d(channels, layer.filters, layer.size, padding=_padding(layer.size)))
                channels = layer.filters
        self.convolutions = nn.ModuleList(convolutions)
        self.head = HEADS[head](stage.output_shape, classes)

    def set_input_statistics(self, statistics: InputStatistics) -> None:
        """Standardise inputs with these from now on."""
        self.input_mean = statistics.mean.float().to(self.input_mean.device)
        self.input_std = statistics.std.float().to(self.input_std.device)

    def features(self, inputs: Tensor) -> Tensor:
        """(n, C, H, W) raw inputs to (n, C', H', W') features."""
        values = (inputs - self.input_mean).div_(self.input_std)
        convolutions = iter(self.convolutions)
        layers = self.stage.layers
        rectify = False
        for position, layer in enumerate(layers):
            match layer:
                case Conv(size):
                    if size % 2 == 0:
                        values = functional.pad(values, (size // 2 - 1, size // 2) * 2)
                    values = next(convolutions)(values)
                    rectify = True
                case Pool(size):
                    values = functional.max_pool2d(values, size)
            # Maximum and ReLU commute; rectifying after the pools touches a fraction of the values.
            if rectify and not (position + 1 < len(layers) and isinstance(layers[position + 1], Pool)):
                values = functional.relu_(values)
                rectify = False
        return values

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.features(inputs))  # type: ignore[no-any-return]


def _padding(size: int) -> int:
    # An even kernel needs one row more after than before, which a convolution does not pad by itself.
    return size // 2 if size % 2 else 0


def place(network: StageNetwork, device: torch.device) -> StageNetwork:
    """The network itself, moved to the device in channels-last layout."""
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def build_network(
    stage: Stage, classes: int, head: str, initialization: Initialization, seed: int, statistics: InputStatistics
) -> StageNetwork:
    """A fresh network on the CPU. Its weights depend on the seed alone, whatever device trains it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = StageNetwork(stage, classes, head)
        if initialization == "he":
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
    network.set_input_statistics(statistics)
    return network
