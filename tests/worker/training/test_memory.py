import torch

from worker.training.memory import CPU_METHOD, training_memory
from worker.training.network import InputStatistics, build_network
from worker.training.spec import Conv, Pool, Recipe, Stage

CPU = torch.device("cpu")
STAGE = Stage((Conv(3, 16), Conv(3, 16), Pool(2)), (3, 16, 16), (16, 8, 8))


def measured(batch: int, dtype: torch.dtype = torch.float32) -> tuple[int, int]:
    network = build_network(STAGE, 10, "linear", "he", 0, InputStatistics.identity(3))
    figures = training_memory(network, Recipe(batch_size=batch), torch.uint8, dtype, CPU, None)
    assert figures.method == CPU_METHOD
    return figures.peak_bytes, figures.analytic_bytes


def test_the_measured_peak_lies_near_the_analytic_figure() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        peak, analytic = measured(64, dtype)
        assert 0.5 * analytic < peak < 2.5 * analytic


def test_memory_grows_with_the_batch_and_shrinks_with_precision() -> None:
    small, large = measured(32), measured(128)
    assert large[0] > 3 * small[0]
    assert large[1] > 3 * small[1]
    assert measured(128, torch.bfloat16)[0] < large[0]


def test_measuring_again_gives_the_same() -> None:
    assert measured(64) == measured(64)
