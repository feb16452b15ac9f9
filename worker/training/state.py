"""A training in the middle, as bytes: safetensors for tensors, JSON in its header for the position."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from worker.training.errors import ForeignState
from worker.training.spec import CurvePoint

FORMAT = "stagetune-training-2"
METADATA = "stagetune"


@dataclass
class Position:
    """Where a training stands. Order follows from seed and epoch, so no random state is needed."""

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
    """Weights, buffers, momentum and position; ``identity`` says which training this is."""
    tensors: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        tensors[f"value/{name}"] = value.cpu().contiguous()
    for name, parameter in module.named_parameters():
        momentum = optimizer.state[parameter].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum.cpu().contiguous()
    document = {"format": FORMAT, "identity": identity, "position": asdict(position)}
    return save(tensors, metadata={METADATA: json.dumps(document)})


def restore_state(
    state: bytes, module: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, object]
) -> Position:
    """Put a saved training into ``module`` and ``optimizer``. Raises ForeignState if it is another training's."""
    document = _document(state)
    # Compared as JSON, in which tuples are lists.
    if document.get("format") != FORMAT or document.get("identity") != json.loads(json.dumps(identity)):
        raise ForeignState("the saved state belongs to another training; start this one from its beginning")
    tensors = load(state)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            value.copy_(tensors[f"value/{name}"])
        for name, parameter in module.named_parameters():
            momentum = tensors.get(f"momentum/{name}")
            if momentum is not None:
                buffer = torch.empty_like(parameter)
                optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(momentum)
    values = document["position"]
    curve = [CurvePoint(**point) for point in values.pop("curve")]
    return Position(**values, curve=curve)


def _document(state: bytes) -> dict[str, Any]:
    length = int.from_bytes(state[:8], "little")
    try:
        found = json.loads(json.loads(state[8 : 8 + length])["__metadata__"][METADATA])
    except (ValueError, KeyError, TypeError) as error:
        raise ForeignState("the saved state is none of a training") from error
    return found if isinstance(found, dict) else {}
