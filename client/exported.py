"""Networks that `stagetune export` wrote, as torch modules.

from client.exported import load

network = load("cnn-6-partial")
logits = network(pixels)  # (n, C, H, W), uint8 or float from 0 to 255
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from client.errors import StagetuneError
from contract.networks import Network
from contract.tasks import StageShape
from worker.stages import stage_of
from worker.training.device import autocast
from worker.training.network import StageNetwork, place

FORMAT = "stagetune-network-1"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
Precision = Literal["float32", "bfloat16"]
CPU = torch.device("cpu")
_STATISTICS = ("input_mean", "input_std")


class NotAnExport(StagetuneError):
    """The folder does not hold a network that `stagetune export` wrote."""


class ExportedNetwork(nn.Module):
    """A trained network with its preprocessing; ``config`` says all that is known of it.

    Takes pixels (n, C, H, W) from 0 to 255, uint8 or float, and returns logits (n, classes). It computes as its
    test did: in ``dtype``, features rounded to it between stages.
    """

    def __init__(self, stages: Sequence[StageNetwork], config: Network, precision: Precision | None = None) -> None:
        super().__init__()
        self.config = config
        self.dtype = torch.bfloat16 if (precision or config.test_precision) == "bfloat16" else torch.float32
        for stage in stages[:-1]:
            # Auxiliary: only the last stage's head is the network's.
            stage.head = nn.Identity()
        self.stages = nn.ModuleList(stages)

    def features(self, pixels: Tensor, stage: int) -> Tensor:
        """The output of a stage, counted from 1: (n, C', H', W') features."""
        shape = self.config.shape
        if pixels.dim() != 4 or tuple(pixels.shape[1:]) != shape:
            raise ValueError(f"the network takes pixels of shape (n, {', '.join(map(str, shape))})")
        values = pixels.float()
        with autocast(pixels.device, self.dtype):
            for network in list(self.stages)[:stage]:
                values = cast(StageNetwork, network).features(values).to(self.dtype)
        return values

    def forward(self, pixels: Tensor) -> Tensor:
        values = self.features(pixels, len(self.stages) - 1)
        with autocast(pixels.device, self.dtype):
            return cast(Tensor, self.stages[-1](values)).float()


def load(folder: str | Path, precision: Precision | None = None) -> ExportedNetwork:
    """The network in a folder, in eval mode on the CPU; by default in the precision that it was tested in.

    Nothing is unpickled. Raises NotAnExport.
    """
    place_of = Path(folder)
    try:
        document = json.loads((place_of / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise NotAnExport(f"{place_of / CONFIG} is not of the format {FORMAT}")
        config = Network.model_validate(document)
        tensors = load_file(place_of / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        kind = "what is known of a network" if isinstance(error, ValidationError) else str(error)
        raise NotAnExport(f"{folder} holds no exported network: {kind}") from error
    try:
        stages = [_empty(stage.stage, config) for stage in config.stages]
        network = ExportedNetwork(stages, config, precision)
        # Their shapes depend on the preprocessing.
        for number, stage in enumerate(stages):
            for name in _STATISTICS:
                setattr(stage, name, tensors[f"stages.{number}.{name}"])
        network.load_state_dict(tensors, strict=True, assign=True)
    except (KeyError, ValueError, RuntimeError) as error:
        raise NotAnExport(f"{folder} holds weights of another network: {error}") from error
    for stage in stages:
        place(stage, CPU)
    return network.eval()


def _empty(shape: StageShape, config: Network) -> StageNetwork:
    with torch.device("meta"):
        return StageNetwork(stage_of(shape), config.dataset.classes, config.recipe.head)
