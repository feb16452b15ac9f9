import pytest
import torch

from tests.worker.training.precision import emulated
from worker.training.errors import MemoryLimitExceeded, OutOfMemory
from worker.training.memory import CPU_METHOD, training_memory
from worker.training.network import InputStatistics, build_network
from worker.training.spec import Conv, Objective, Pool, Recipe, Stage

CPU = torch.device("cpu")
STAGE = Stage((Conv(3, 16), Conv(3, 16), Pool(2)), (3, 16, 16), (16, 8, 8))


def measured(batch: int, dtype: torch.dtype = torch.float32) -> tuple[int, int]:
    network = build_network(STAGE, 10, "linear", "he", 0, InputStatistics.identity(3))
    figures = training_memory(network, Recipe(batch_size=batch), torch.uint8, dtype, CPU, None)
    assert figures.method == CPU_METHOD
    return figures.peak_bytes, figures.analytic_bytes


def near(peak: int, analytic: int, dtype: torch.dtype) -> bool:
    """Whether the measured figure is what shapes tell, or more where the type is emulated."""
    return 0.9 * analytic < peak and (emulated(dtype) or peak < 1.1 * analytic)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "stage",
    [
        Stage((Conv(3, 32), Conv(3, 32), Pool(2)), (3, 32, 32), (32, 16, 16)),
        Stage((Conv(3, 32), Pool(2)), (32, 16, 16), (32, 8, 8)),
        Stage((Conv(3, 32), Pool(2), Conv(2, 64), Pool(2)), (3, 32, 32), (64, 8, 8), norms=(2,)),
    ],
)
def test_the_measured_peak_lies_near_the_analytic_figure(stage: Stage, dtype: torch.dtype) -> None:
    network = build_network(stage, 10, "linear", "he", 0, InputStatistics.identity(stage.input_shape[0]))
    figures = training_memory(network, Recipe(batch_size=50), torch.uint8, dtype, CPU, None)
    assert near(figures.peak_bytes, figures.analytic_bytes, dtype)
    assert 0.5 * figures.analytic_bytes < figures.activation_bytes < figures.analytic_bytes


@pytest.mark.parametrize("head", ["linear", "conv2"])
@pytest.mark.parametrize("objective", ["classification", "reconstruction", "contrastive"])
def test_the_analytic_figure_knows_heads_and_objectives(head: str, objective: Objective) -> None:
    network = build_network(STAGE, 10, head, "he", 0, InputStatistics.identity(3))
    recipe = Recipe(batch_size=64, head=head, objective=objective)
    figures = training_memory(network, recipe, torch.uint8, torch.float32, CPU, None)
    assert figures.peak_bytes == pytest.approx(figures.analytic_bytes, rel=0.25)


def test_what_a_step_would_take_is_refused_before_it_is_taken() -> None:
    network = build_network(STAGE, 10, "linear", "he", 0, InputStatistics.identity(3))
    with pytest.raises(MemoryLimitExceeded, match=r"limits\.memory"):
        training_memory(network, Recipe(batch_size=10**9), torch.uint8, torch.float32, CPU, 1 << 40)


def test_what_the_machine_has_not_is_refused_without_a_word_of_the_limit() -> None:
    network = build_network(STAGE, 10, "linear", "he", 0, InputStatistics.identity(3))
    for limit in (None, 1 << 62):
        with pytest.raises(OutOfMemory, match=r"the machine has .* MiB free"):
            training_memory(network, Recipe(batch_size=10**9), torch.uint8, torch.float32, CPU, limit)


def test_looking_at_memory_draws_nothing() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    measured(48)
    assert torch.equal(torch.get_rng_state(), before)


def test_memory_grows_with_the_batch_and_shrinks_with_precision() -> None:
    small, large = measured(32), measured(128)
    assert large[0] > 3 * small[0]
    assert large[1] > 3 * small[1]
    halved = measured(128, torch.bfloat16)
    assert halved[1] < large[1]
    assert halved[0] < large[0] or emulated(torch.bfloat16)


def test_measuring_again_gives_the_same() -> None:
    assert measured(64) == measured(64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_prefix_that_runs_for_every_batch_counts(dtype: torch.dtype) -> None:
    wide = Stage((Conv(3, 64), Conv(3, 64), Pool(2)), (3, 32, 32), (64, 16, 16))
    small = Stage((Conv(3, 8), Pool(2)), (64, 16, 16), (8, 8, 8))
    recipe = Recipe(batch_size=10)
    first, second = (
        build_network(stage, 10, "linear", "he", 0, InputStatistics.identity(stage.input_shape[0]))
        for stage in (wide, small)
    )
    cached = training_memory(second, recipe, dtype, dtype, CPU, None)
    timed = training_memory(second, recipe, torch.uint8, dtype, CPU, None, [first])
    # A prefix always runs on 50 images; without gradients it holds the outputs of two layers at a time, no more.
    layer = 50 * 64 * 32 * 32 * dtype.itemsize
    assert near(timed.peak_bytes, timed.analytic_bytes, dtype)
    assert layer < timed.analytic_bytes - cached.analytic_bytes < 3 * layer
