import pytest
import torch

from worker.training.network import InputStatistics, build_network
from worker.training.objectives import Objective, build_objective
from worker.training.optimizer import build_optimizer, layer_values, rate_factor
from worker.training.spec import Conv, Hyperparameters, Pool, Recipe, Stage

STAGE = Stage((Conv(3, 6), Conv(3, 5), Pool(2), Conv(2, 4)), (3, 8, 8), (4, 4, 4))


def stepped(recipe: Recipe, point: Hyperparameters) -> tuple[Objective, dict[str, float]]:
    """What one step without any gradient leaves of every parameter, as a factor, and how far a gradient of 1 goes."""
    network = build_network(STAGE, 10, recipe.head, "he", 0, InputStatistics.identity(3))
    objective = build_objective(network, recipe, 0)
    with torch.no_grad():
        for value in objective.parameters():
            value.fill_(1.0)
    optimizer = build_optimizer(objective, recipe, point)
    for value in objective.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    return objective, {name: value.mean().item() for name, value in objective.named_parameters()}


def test_weights_decay_and_biases_and_norms_do_not() -> None:
    _, left = stepped(Recipe(momentum=0.0, head="conv1"), Hyperparameters(0.1, 0.5))
    for name, value in left.items():
        spared = name.endswith("bias") or ".norms." in name
        assert value == pytest.approx(1.0 if spared else 1 - 0.1 * 0.5), name


@pytest.mark.parametrize("head", ["linear", "mlp", "conv2"])
def test_every_layer_decays_as_its_own_values_say(head: str) -> None:
    more = (("learning_rate_1", 0.2), ("regularization_1", 0.3), ("learning_rate_3", 0.4), ("regularization_3", 0.5))
    objective, left = stepped(Recipe(momentum=0.0, head=head, objective="contrastive"), Hyperparameters(0.1, 0.1, more))
    for number, factor in enumerate((1 - 0.2 * 0.3, 1 - 0.1 * 0.1, 1 - 0.4 * 0.5)):
        assert left[f"network.convolutions.{number}.weight"] == pytest.approx(factor)
        assert left[f"network.convolutions.{number}.bias"] == 1.0
    rest = [name for name, value in objective.named_parameters() if ".convolutions." not in name.replace("head", "")]
    for name in (name for name in rest if name.endswith("weight") and "norm" not in name):
        assert left[name] == pytest.approx(1 - 0.1 * 0.1), name


def test_a_gradient_goes_as_far_as_its_layers_learning_rate() -> None:
    network = build_network(STAGE, 10, "linear", "he", 0, InputStatistics.identity(3))
    objective = build_objective(network, Recipe(), 0)
    point = Hyperparameters(0.1, 1e-9, (("learning_rate_factor", 0.5), ("regularization_factor", 2.0)))
    optimizer = build_optimizer(objective, Recipe(), point)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    for value in network.parameters():
        value.grad = torch.ones_like(value)
    optimizer.step()
    rates = {"convolutions.0": 0.1, "convolutions.1": 0.05, "convolutions.2": 0.025, "head.linear": 0.0125}
    for name, value in network.named_parameters():
        moved = before[name] - value.detach()
        torch.testing.assert_close(moved, torch.full_like(moved, rates[name.rpartition(".")[0]]), rtol=1e-4, atol=1e-6)


def test_a_scheme_that_says_nothing_gives_every_layer_the_base() -> None:
    assert layer_values(Hyperparameters(0.1, 0.2), "learning_rate", 2) == [0.1, 0.1, 0.1]
    geometric = Hyperparameters(0.1, 0.2, (("regularization_factor", 10.0),))
    assert layer_values(geometric, "regularization", 2) == pytest.approx([0.2, 2.0, 20.0])
    assert layer_values(geometric, "learning_rate", 2) == [0.1, 0.1, 0.1]


def test_layers_of_the_same_values_are_stepped_together() -> None:
    network = build_network(STAGE, 10, "mlp", "he", 0, InputStatistics.identity(3))
    optimizer = build_optimizer(build_objective(network, Recipe(), 0), Recipe(), Hyperparameters(0.1, 0.5))
    assert len(optimizer.param_groups) == 2


def test_a_cosine_falls_from_the_whole_rate_towards_nothing_and_a_constant_stays() -> None:
    factors = [rate_factor("cosine", step, 4) for step in range(4)]
    assert factors == pytest.approx([1.0, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2])
    assert {rate_factor("constant", step, 4) for step in range(4)} == {1.0}
