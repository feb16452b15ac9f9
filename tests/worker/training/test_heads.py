import pytest
import torch
from torch import nn

from service.domain import layers, shapes
from worker.training.heads import HEADS, BatchNorm
from worker.training.network import InputStatistics, build_network
from worker.training.spec import Conv, Pool, Stage


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [12, 6, 3, 2])
def test_a_head_has_the_parameters_that_the_plan_counts(head: str, size: int) -> None:
    before, after = (3, size, size), (8, size // 2, size // 2)
    network = build_network(Stage((Conv(3, 8), Pool(2)), before, after), 10, head, "he", 0, InputStatistics.identity(3))
    planned = layers.Stage((layers.Conv(3, 8), layers.Pool(2)), before, after)
    assert sum(value.numel() for value in network.parameters()) == shapes.parameters(planned, 10, head)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("shape", [(4, 6, 6), (4, 5, 3), (4, 1, 1)])
def test_a_head_tells_the_classes_of_any_features(head: str, shape: tuple[int, int, int]) -> None:
    module = HEADS[head](shape, 7)
    assert module(torch.rand(5, *shape)).shape == (5, 7)
    # The last batch of an epoch may be a single image.
    assert module(torch.rand(1, *shape)).isfinite().all()
    assert {value.dtype for value in module.state_dict().values()} == {torch.float32}


def test_the_pooled_head_averages_quarters() -> None:
    head = HEADS["pooled-linear"]((1, 4, 4), 4).eval()
    with torch.no_grad():
        head.linear.weight.copy_(torch.eye(4))  # type: ignore[union-attr,operator]
        head.linear.bias.zero_()  # type: ignore[union-attr,operator]
    quarters = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    values = quarters.repeat_interleave(2, 0).repeat_interleave(2, 1)[None, None]
    torch.testing.assert_close(head(values), quarters.reshape(1, 4), rtol=1e-4, atol=0)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_is_that_of_torch_without_its_integer(affine: bool) -> None:
    ours, theirs = BatchNorm(3, affine), nn.BatchNorm2d(3, affine=affine)
    for seed in range(3):
        values = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) * 3 + 1
        assert torch.equal(ours(values), theirs(values))
    assert torch.equal(ours.eval()(values), theirs.eval()(values))
    wanted = theirs.state_dict()
    wanted.pop("num_batches_tracked")
    assert ours.state_dict().keys() == wanted.keys()
    assert torch.equal(ours.running_var, wanted["running_var"])
