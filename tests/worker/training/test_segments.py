"""Normalisation at cuts and gradient checkpointing, which go by the same numbers."""

import pytest
import torch
from torch.nn import functional

from tests.worker.training.conftest import MakeTraining
from tests.worker.training.precision import emulated
from worker.training.loop import StageTraining
from worker.training.memory import CPU_METHOD, training_memory
from worker.training.network import InputStatistics, StageNetwork, build_network
from worker.training.spec import Conv, Ending, Pool, Recipe, Stage

CPU = torch.device("cpu")
PLAIN = Stage((Conv(3, 8), Conv(3, 8), Pool(2), Conv(3, 8)), (1, 8, 8), (8, 4, 4))
NORMED = Stage(PLAIN.layers, PLAIN.input_shape, PLAIN.output_shape, (1, 2, 3))


def trained(make_training: MakeTraining, stage: Stage, segments: tuple[int, ...], precision: str) -> StageTraining:
    recipe = Recipe(batch_size=20, precision=precision, head="mlp")  # type: ignore[arg-type]
    training = make_training(recipe, stage=stage, segments=segments)
    assert training.run().ending is Ending.COMPLETE
    return training


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stage", [PLAIN, NORMED])
def test_segments_change_no_bit(make_training: MakeTraining, stage: Stage, precision: str) -> None:
    without = trained(make_training, stage, (), precision).network.state_dict()
    for segments in ((1,), (2,), (1, 2, 3)):
        found = trained(make_training, stage, segments, precision).network.state_dict()
        assert all(torch.equal(value, found[name]) for name, value in without.items())


def deep(segments: tuple[int, ...]) -> StageNetwork:
    stage = Stage((Conv(3, 16),) * 8, (3, 16, 16), (16, 16, 16))
    network = build_network(stage, 10, "linear", "he", 0, InputStatistics.identity(3))
    network.segments = segments
    return network


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_segments_take_less_memory_measured_and_from_shapes(dtype: torch.dtype) -> None:
    recipe = Recipe(batch_size=32)
    whole, parts = (training_memory(deep(segments), recipe, torch.uint8, dtype, CPU, None) for segments in ((), (3, 6)))
    assert whole.method == CPU_METHOD
    assert parts.peak_bytes < (1.0 if emulated(dtype) else 0.75) * whole.peak_bytes
    assert parts.analytic_bytes < 0.75 * whole.analytic_bytes
    assert parts.activation_bytes < 0.75 * whole.activation_bytes


def test_a_cut_is_normalised_per_channel_after_what_is_before_it() -> None:
    stage = Stage((Conv(3, 4), Pool(2)), (2, 8, 8), (4, 4, 4), norms=(1,))
    network = build_network(stage, 3, "linear", "he", 0, InputStatistics.identity(2))
    inputs = torch.randn(10, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    before = functional.relu(network.convolutions[0](inputs))
    mean, var = before.mean((0, 2, 3), keepdim=True), before.var((0, 2, 3), keepdim=True, correction=0)
    expected = functional.max_pool2d((before - mean) / (var + 1e-5).sqrt(), 2)
    torch.testing.assert_close(network.features(inputs), expected)
    assert bool((expected < 0).any())


def test_eval_mode_uses_running_statistics_that_a_step_updates_once() -> None:
    inputs = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    networks = [build_network(NORMED, 3, "linear", "he", 0, InputStatistics.identity(1)) for _ in range(2)]
    networks[1].segments = (1, 2, 3)
    for network in networks:
        network(inputs).sum().backward()
    states = [network.norms.state_dict() for network in networks]
    assert len(states[0]) == 6
    assert all(value.any() for value in states[0].values())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    running = states[0]["1.running_mean"].clone()
    network = networks[0].eval()
    alone = network.features(inputs[:1])
    torch.testing.assert_close(alone, network.features(inputs)[:1])
    assert torch.equal(network.norms.state_dict()["1.running_mean"], running)
