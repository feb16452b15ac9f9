import math

import pytest
import torch
from torch.nn import functional

from tests.worker.training.conftest import MakeTraining
from worker.training.errors import Paused
from worker.training.loop import StageTraining
from worker.training.network import InputStatistics, build_network
from worker.training.objectives import NOISE, Objective, build_objective, gradients, nt_xent, view
from worker.training.spec import Command, Conv, Ending, Hyperparameters, Pool, Recipe, Stage
from worker.training.state import Position, save_state

STAGE = Stage((Conv(3, 6), Pool(2)), (3, 16, 16), (6, 8, 8))
UNSUPERVISED = ["reconstruction", "contrastive"]


def objective_of(kind: str) -> Objective:
    network = build_network(STAGE, 10, "linear", "he", 0, InputStatistics.identity(3))
    return build_objective(network, Recipe(objective=kind), 1)  # type: ignore[arg-type]


def values_of(training: StageTraining) -> list[torch.Tensor]:
    return [value.clone() for value in training.objective.state_dict().values()]


@pytest.mark.parametrize("kind", UNSUPERVISED)
def test_layers_learn_without_labels_and_the_head_from_them(kind: str) -> None:
    objective = objective_of(kind)
    inputs = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = []
    for labels in (torch.zeros(6, dtype=torch.int64), torch.full((6,), 3)):
        objective.zero_grad()
        gradients(objective, inputs, labels, 5, torch.float32)
        found.append(
            {name: value.grad.clone() for name, value in objective.named_parameters() if value.grad is not None}
        )
    assert found[0].keys() == dict(objective.named_parameters()).keys()
    for name, gradient in found[0].items():
        assert gradient.any(), name
        assert torch.equal(gradient, found[1][name]) == (not name.startswith("network.head")), name


def test_views_are_mirrored_moved_and_noisy() -> None:
    values = torch.zeros(200, 1, 16, 16)
    values[:, :, 8, 5] = 100
    seen = view(values, torch.Generator().manual_seed(0))
    flat = seen.flatten(1)
    peaks = flat.argmax(1)
    rows, columns = set((peaks // 16).tolist()), set((peaks % 16).tolist())
    assert rows == {6, 7, 8, 9, 10}
    assert columns == {3, 4, 5, 6, 7} | {8, 9, 10, 11, 12}
    # What mirrored and moved pictures leave over is noise, another on every pixel of every picture.
    noise = flat - 100 * functional.one_hot(peaks, 256)
    assert (noise.mean().item(), noise.std().item()) == pytest.approx((0, NOISE), abs=0.02 * NOISE)
    assert noise.unique().numel() > 0.99 * noise.numel()
    assert seen.shape == values.shape


def test_what_comes_in_at_the_border_is_zero_and_small_pictures_stay_where_they_are() -> None:
    seen = view(torch.full((200, 1, 16, 16), 50.0), torch.Generator().manual_seed(0))
    assert set((seen[:, 0, 0, 8] > 25).tolist()) == {True, False}
    assert bool((seen[:, :, 2:14, 2:14] > 25).all())
    assert bool((view(torch.full((50, 1, 4, 4), 50.0), torch.Generator().manual_seed(0)) > 25).all())


def test_views_follow_from_the_seed() -> None:
    values = torch.randn(9, 3, 16, 16)
    one, two, other = (view(values, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_nt_xent_is_the_published_formula() -> None:
    projected = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    expected = 0.0
    for one in range(8):
        partner = (one + 4) % 8
        scores = [functional.cosine_similarity(projected[one], projected[k], dim=0).item() / 0.5 for k in range(8)]
        others = sum(math.exp(score) for k, score in enumerate(scores) if k != one)
        expected -= math.log(math.exp(scores[partner]) / others) / 8
    assert nt_xent(projected).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", UNSUPERVISED)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_probe_of_an_unsupervised_stage_learns(make_training: MakeTraining, kind: str, precision: str) -> None:
    recipe = Recipe(batch_size=20, objective=kind, precision=precision)  # type: ignore[arg-type]
    result = make_training(recipe).run()
    assert result.ending is Ending.COMPLETE
    assert result.validation_accuracy > 0.75
    assert result.curve[-1].loss > 0


@pytest.mark.parametrize("kind", UNSUPERVISED)
def test_an_unsupervised_training_continues_to_the_same_bits(make_training: MakeTraining, kind: str) -> None:
    recipe = Recipe(batch_size=20, objective=kind, head="conv1")  # type: ignore[arg-type]
    torch.manual_seed(1)
    whole = make_training(recipe)
    expected = whole.run()
    torch.manual_seed(2)
    with pytest.raises(Paused) as paused:
        make_training(recipe).run(lambda progress: Command.PAUSE if progress.fraction > 0.2 else Command.CONTINUE)
    resumed = make_training(recipe, resume=paused.value.state)
    result = resumed.run()
    assert all(torch.equal(one, two) for one, two in zip(values_of(resumed), values_of(whole), strict=True))
    assert result.curve == expected.curve


@pytest.mark.parametrize("kind", UNSUPERVISED)
def test_an_unsupervised_training_that_explodes_is_told_at_chance(make_training: MakeTraining, kind: str) -> None:
    recipe = Recipe(batch_size=20, objective=kind)  # type: ignore[arg-type]
    result = make_training(recipe, Hyperparameters(1e20, 1e-4)).run()
    assert (result.ending, result.validation_accuracy) == (Ending.DIVERGED, 0.5)


def test_what_an_objective_adds_is_kept_while_it_trains_and_not_in_the_network() -> None:
    objective = objective_of("reconstruction")
    optimizer = torch.optim.SGD(objective.parameters())
    assert b"value/decoder.weight" in save_state(objective, optimizer, Position(), {})
    assert not any("decoder" in name for name in objective.network.state_dict())
    # The network's weights are those that it has under any other objective.
    one, two = objective.network.state_dict(), objective_of("classification").network.state_dict()
    assert all(torch.equal(value, two[name]) for name, value in one.items())
