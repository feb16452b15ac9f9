"""The optimiser of a recipe."""

import torch
from torch import nn

from worker.training.spec import Hyperparameters, Recipe


def build_optimizer(network: nn.Module, recipe: Recipe, point: Hyperparameters) -> torch.optim.SGD:
    """SGD with momentum; weight decay acts on weights and spares biases."""
    weights = [value for value in network.parameters() if value.ndim > 1]
    biases = [value for value in network.parameters() if value.ndim <= 1]
    return torch.optim.SGD(
        [
            {"params": weights, "weight_decay": point.regularization},
            {"params": biases, "weight_decay": 0.0},
        ],
        lr=point.learning_rate,
        momentum=recipe.momentum,
        fused=next(network.parameters()).device.type in ("cpu", "cuda"),
    )
