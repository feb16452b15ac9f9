"""What a stage learns by: from labels, or its layers without them while its head learns on detached features."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.training.device import autocast
from worker.training.heads import HIDDEN, pooled, pooled_values
from worker.training.network import StageNetwork, initialized
from worker.training.spec import Initialization, Recipe, Shape

PROJECTED = 64
"""Dimensions in which a contrastive objective compares views."""
TEMPERATURE = 0.5
NOISE = 0.1
"""Standard deviation of what is added to a view of standardised inputs."""
SHIFT = 8
"""A view is moved by up to this fraction of its height and width."""


class Objective(nn.Module):
    """A network and what its training needs besides it, which is thrown away afterwards."""

    def __init__(self, network: StageNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, labels: Tensor, seed: int) -> Tensor:
        """The mean loss of a batch; what is drawn for it follows from the seed alone."""
        raise NotImplementedError


class Classification(Objective):
    """Cross entropy of the labels, through head and layers."""

    def forward(self, inputs: Tensor, labels: Tensor, seed: int) -> Tensor:  # noqa: ARG002 - others need it
        return functional.cross_entropy(self.network(inputs).float(), labels)


class Reconstruction(Objective):
    """The mean squared error of the standardised inputs, as a small decoder finds them in the features."""

    def __init__(self, network: StageNetwork, initialization: Initialization, seed: int) -> None:
        super().__init__(network)
        inputs, features = network.stage.input_shape[0], network.stage.output_shape[0]
        self.decoder = initialized(lambda: nn.Conv2d(features, inputs, 3, padding=1), initialization, seed)

    def forward(self, inputs: Tensor, labels: Tensor, seed: int) -> Tensor:  # noqa: ARG002 - others need it
        wanted = self.network.standardized(inputs)
        features = self.network.transformed(wanted)
        found = self.decoder(functional.interpolate(features, size=wanted.shape[2:], mode="nearest"))
        return functional.mse_loss(found.float(), wanted) + head_loss(self.network, features, labels)


class Projection(nn.Module):
    """Features averaged to at most 2 x 2, a hidden layer, and the dimensions in which views are compared."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.hidden = nn.Linear(pooled_values(shape), HIDDEN)
        self.linear = nn.Linear(HIDDEN, PROJECTED)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(functional.relu_(self.hidden(pooled(features))))  # type: ignore[no-any-return]


class Contrastive(Objective):
    """SimCLR's NT-Xent (Chen et al. 2020, equation 1) on two views of every input; the head learns on both views."""

    def __init__(self, network: StageNetwork, initialization: Initialization, seed: int) -> None:
        super().__init__(network)
        self.projection = initialized(lambda: Projection(network.stage.output_shape), initialization, seed)

    def forward(self, inputs: Tensor, labels: Tensor, seed: int) -> Tensor:
        generator = torch.Generator(inputs.device).manual_seed(seed)
        standardized = self.network.standardized(inputs)
        features = self.network.transformed(torch.cat([view(standardized, generator) for _ in range(2)]))
        return nt_xent(self.projection(features).float()) + head_loss(self.network, features, labels.repeat(2))


def build_objective(network: StageNetwork, recipe: Recipe, seed: int) -> Objective:
    """The recipe's objective around a network, whose weights stay as they are; on the CPU."""
    match recipe.objective:
        case "classification":
            return Classification(network)
        case "reconstruction":
            return Reconstruction(network, recipe.initialization, seed)
        case "contrastive":
            return Contrastive(network, recipe.initialization, seed)


def head_loss(network: StageNetwork, features: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the head, from which the layers learn nothing."""
    return functional.cross_entropy(network.head(features.detach()).float(), labels)


def view(values: Tensor, generator: torch.Generator) -> Tensor:
    """(n, C, H, W) mirrored at random, moved with zeros coming in at the border, and made noisy."""
    count, channels, height, width = values.shape
    margins = height // SHIFT, width // SHIFT
    device = values.device

    def places(size: int, margin: int) -> Tensor:
        moves = torch.randint(0, 2 * margin + 1, (count, 1), generator=generator, device=device)
        return moves + torch.arange(size, device=device)

    rows, columns = (places(size, margin) for size, margin in zip((height, width), margins, strict=True))
    mirrored = torch.rand(count, 1, generator=generator, device=device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    padded = functional.pad(values, (margins[1], margins[1], margins[0], margins[0])).permute(0, 2, 3, 1)
    images = torch.arange(count, device=device)
    moved = padded[images[:, None, None], rows[:, :, None], columns[:, None, :]]
    noise = torch.randn(count, height, width, channels, generator=generator, device=device)
    return moved.add_(noise, alpha=NOISE).permute(0, 3, 1, 2)


def nt_xent(projected: Tensor) -> Tensor:
    """The loss of (2 n, D) float32 projections, in which i and i + n are views of one input."""
    count = len(projected)
    # Similarities within a batch differ in their last digits, which bfloat16 does not have.
    with torch.autocast(projected.device.type, enabled=False):
        directions = functional.normalize(projected, dim=1)
        similar = directions @ directions.T / TEMPERATURE
    itself = torch.eye(count, dtype=torch.bool, device=projected.device)
    partners = torch.arange(count, device=projected.device).roll(count // 2)
    return functional.cross_entropy(similar.masked_fill(itself, -torch.inf), partners)


def gradients(objective: Objective, inputs: Tensor, labels: Tensor, seed: int, dtype: torch.dtype) -> Tensor:
    """Add the gradients of a batch to the parameters'; its loss, detached and not yet waited for."""
    with autocast(labels.device, dtype):
        loss: Tensor = objective(inputs, labels, seed)
    loss.backward()
    return loss.detach()


def training_step(
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    labels: Tensor,
    seed: int,
    dtype: torch.dtype,
) -> Tensor:
    """One optimiser step on a batch; its loss."""
    optimizer.zero_grad(set_to_none=True)
    loss = gradients(objective, inputs, labels, seed, dtype)
    optimizer.step()
    return loss
