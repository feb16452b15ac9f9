"""The optimiser of a recipe, and its learning rate from step to step."""

import math

import torch
from torch import nn

from worker.training.objectives import Objective
from worker.training.spec import Hyperparameters, Recipe, Schedule


def build_optimizer(objective: Objective, recipe: Recipe, point: Hyperparameters) -> torch.optim.SGD:
    """SGD with momentum; every convolution has the values of its layer, all else those of the head.

    Weight decay acts on weights and spares biases and norms.
    """
    network = objective.network
    layer_of = {id(value): layer for layer, part in enumerate(network.convolutions) for value in part.parameters()}
    depth = len(network.convolutions)
    rates = layer_values(point, "learning_rate", depth)
    decays = layer_values(point, "regularization", depth)
    # Layers that share their values share a group: a fused step takes a whole group at once.
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for value in objective.parameters():
        layer = layer_of.get(id(value), depth)
        groups.setdefault((rates[layer], decays[layer] if value.ndim > 1 else 0.0), []).append(value)
    return torch.optim.SGD(
        [{"params": values, "lr": rate, "weight_decay": decay} for (rate, decay), values in groups.items()],
        momentum=recipe.momentum,
        fused=next(objective.parameters()).device.type in ("cpu", "cuda"),
    )


def layer_values(point: Hyperparameters, axis: str, convolutions: int) -> list[float]:
    """What a point says of an axis for every convolution, and at last for the head."""
    base, more = getattr(point, axis), dict(point.more)
    factor = more.get(f"{axis}_factor", 1.0)
    layers = [more.get(f"{axis}_{layer + 1}", base * factor**layer) for layer in range(convolutions)]
    return [*layers, base * factor**convolutions]


def rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """What the learning rates are multiplied with in a step, which counts from 0 to below ``steps``.

    cosine: half a wave from 1 towards 0, without restarts (Loshchilov and Hutter 2017, equation 5).
    """
    return 1.0 if schedule == "constant" else (1 + math.cos(math.pi * step / steps)) / 2
