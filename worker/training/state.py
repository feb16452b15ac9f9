"""A training in the middle, as bytes: safetensors for tensors, JSON in its header for the position."""

import json
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from worker.training.errors import ForeignState
from worker.training.spec import CurvePoint

FORMAT = "stagetune-training-3"
METADATA = "stagetune"


@dataclass
class Position:
    """Where a training stands; the order of the images follows from seed and epoch."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    first_loss: float | None = None
    loss_sum: float = 0.0
    loss_steps: int = 0
    training_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)


def save_state(
    module: nn.Module, optimizer: torch.optim.Optimizer, position: Position, identity: dict[str, object]
) -> bytes:
    """Weights, buffers, momentum, random states, curve and position; ``identity`` says which training this is."""
    tensors: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        tensors[f"value/{name}"] = value.cpu().contiguous()
    for name, parameter in module.named_parameters():
        momentum = optimizer.state[parameter].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum.cpu().contiguous()
    tensors["random/cpu"] = torch.get_rng_state()
    device = _device(module)
    if device.type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(device)
    # A tensor, not part of the header: a long training has a long curve, and headers are small everywhere.
    tensors["curve"] = torch.tensor([astuple(point) for point in position.curve], dtype=torch.float64).reshape(-1, 4)
    stands = {name: value for name, value in asdict(position).items() if name != "curve"}
    document = {"format": FORMAT, "identity": identity, "position": stands}
    return save(tensors, metadata={METADATA: json.dumps(document)})


def restore_state(
    state: bytes, module: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, object]
) -> Position:
    """Put a saved training into ``module`` and ``optimizer``.

    Raises ForeignState if it is damaged or another training's; module and optimizer are of no use then.
    """
    document = _document(state)
    # Compared as JSON, in which tuples are lists.
    if document.get("format") != FORMAT or document.get("identity") != json.loads(json.dumps(identity)):
        raise ForeignState("the saved state belongs to another training; start this one from its beginning")
    try:
        return _restore(load(state), module, optimizer, document["position"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ForeignState(f"the saved state is damaged ({error}); start this training from its beginning") from error


def steps_of(state: bytes) -> int:
    """Optimiser steps done in a saved state, to tell which of two is further. Raises ForeignState."""
    try:
        return int(_document(state)["position"]["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise ForeignState("the saved state does not say where it stands") from error


def _restore(
    tensors: dict[str, Tensor], module: nn.Module, optimizer: torch.optim.Optimizer, stands: dict[str, Any]
) -> Position:
    with torch.no_grad():
        for name, value in module.state_dict().items():
            value.copy_(tensors[f"value/{name}"])
        for name, parameter in module.named_parameters():
            momentum = tensors.get(f"momentum/{name}")
            if momentum is not None:
                buffer = torch.empty_like(parameter)
                optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(momentum)
    torch.set_rng_state(tensors["random/cpu"])
    device, kept = _device(module), tensors.get("random/cuda")
    if device.type == "cuda" and kept is not None:
        torch.cuda.set_rng_state(kept, device)
    curve = [CurvePoint(int(step), epoch, accuracy, loss) for step, epoch, accuracy, loss in tensors["curve"].tolist()]
    return Position(**stands, curve=curve)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _document(state: bytes) -> dict[str, Any]:
    length = int.from_bytes(state[:8], "little")
    try:
        found = json.loads(json.loads(state[8 : 8 + length])["__metadata__"][METADATA])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ForeignState("the saved state is none of a training") from error
    return found if isinstance(found, dict) else {}
