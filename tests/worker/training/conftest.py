from collections.abc import Callable

import pytest
import torch

from worker.training.data import Labelled, TensorSource
from worker.training.loop import StageTraining
from worker.training.network import InputStatistics, build_network
from worker.training.spec import Budget, Conv, Hyperparameters, Pool, Recipe, Stage

STAGE = Stage((Conv(3, 8), Pool(2)), (1, 8, 8), (8, 4, 4))
CPU = torch.device("cpu")


def stripes(count: int, seed: int) -> Labelled:
    """Two classes of noisy 8 x 8 pictures: bright rows, bright columns."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 128, (count, 8, 8, 1), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 2, (count,), generator=generator)
    pixels[labels == 0, ::2] += 60
    pixels[labels == 1, :, ::2] += 60
    return Labelled(TensorSource(pixels, CPU), labels)


MakeTraining = Callable[..., StageTraining]


@pytest.fixture
def make_training() -> MakeTraining:
    """Builds a small training; keywords change what it is made of."""

    def make(
        recipe: Recipe | None = None,
        point: Hyperparameters | None = None,
        budget: Budget | None = None,
        seed: int = 0,
        resume: bytes | None = None,
        images: int = 330,
        stage: Stage = STAGE,
        segments: tuple[int, ...] = (),
    ) -> StageTraining:
        recipe = recipe or Recipe(batch_size=20)
        statistics = InputStatistics(torch.full((1, 1, 1), 90.0), torch.full((1, 1, 1), 45.0))
        network = build_network(stage, 2, recipe.head, recipe.initialization, seed, statistics)
        point = point or Hyperparameters(1e-2, 1e-4)
        budget = budget or Budget(2)
        train, validation = stripes(images, 1), stripes(50, 2)
        return StageTraining(network, train, validation, recipe, point, budget, seed, resume, segments)

    return make
