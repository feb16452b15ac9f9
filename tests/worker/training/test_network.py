import torch
from torch.nn import functional

from worker.training.network import InputStatistics, build_network
from worker.training.spec import Conv, Pool, Stage

STAGE = Stage((Conv(3, 6), Conv(3, 5), Pool(2), Conv(2, 4)), (3, 8, 8), (4, 4, 4))
STATISTICS = InputStatistics(torch.full((3, 1, 1), 100.0), torch.full((3, 1, 1), 50.0))


def test_the_network_is_the_layers_as_the_paper_means_them() -> None:
    network = build_network(STAGE, 10, "linear", "he", 0, STATISTICS)
    pixels = torch.randint(0, 256, (7, 3, 8, 8), dtype=torch.uint8)

    first, second, third = network.convolutions
    values = (pixels.float() - 100) / 50
    values = functional.relu(first(values))
    values = functional.max_pool2d(functional.relu(second(values)), 2)
    values = functional.relu(third(functional.pad(values, (0, 1, 0, 1))))

    torch.testing.assert_close(network.features(pixels), values)
    assert network(pixels).shape == (7, 10)


def test_a_stage_of_a_pool_alone_leaves_negative_values() -> None:
    network = build_network(Stage((Pool(2),), (1, 2, 2), (1, 1, 1)), 2, "linear", "he", 0, InputStatistics.identity(1))
    assert network.features(-torch.ones(1, 1, 2, 2)).item() == -1


def test_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = build_network(STAGE, 10, "linear", "he", 5, STATISTICS)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)
    two = build_network(STAGE, 10, "linear", "he", 5, STATISTICS)
    other = build_network(STAGE, 10, "linear", "he", 6, STATISTICS)

    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


def test_he_has_zero_biases_and_the_variance_of_its_name() -> None:
    wide = Stage((Conv(3, 256),), (16, 8, 8), (256, 8, 8))
    network = build_network(wide, 10, "linear", "he", 0, InputStatistics.identity(16))
    weight = network.convolutions[0].weight
    assert isinstance(weight, torch.Tensor)
    assert abs(weight.std().item() - (2 / (16 * 9)) ** 0.5) < 0.002
    assert not network.convolutions[0].bias.any()  # type: ignore[operator]
    default = build_network(wide, 10, "linear", "torch", 0, InputStatistics.identity(16))
    assert default.convolutions[0].bias.any()  # type: ignore[operator]
