from pathlib import Path

import pytest
import torch

from tests.worker.conftest import StopsAt
from worker.checkpoints import StageCheckpoint, pack, unpack
from worker.control import Stopped
from worker.features import FeatureCache, Features, Split, feature_key
from worker.training.data import TensorSource
from worker.training.network import InputStatistics, build_network
from worker.training.spec import Conv, Pool, Stage

CPU = torch.device("cpu")
FIRST = Stage((Conv(3, 8), Conv(3, 8)), (3, 12, 12), (8, 12, 12))
SECOND = Stage((Conv(3, 8), Pool(2)), (8, 12, 12), (8, 6, 6))
PIXELS = torch.randint(0, 256, (130, 12, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SPLIT = Split("data/standardize/train", TensorSource(PIXELS, CPU))


def frozen(stage: Stage, seed: int = 0) -> StageCheckpoint:
    statistics = InputStatistics.identity(stage.input_shape[0], 64.0 if stage is FIRST else 1.0)
    return unpack(pack(build_network(stage, 10, "linear", "he", seed, statistics)))


PREFIX = (frozen(FIRST), frozen(SECOND, 1))


def tiers(tmp_path: Path) -> dict[str, FeatureCache]:
    return {
        "memory": FeatureCache(CPU, None, 1 << 30),
        "disk": FeatureCache(CPU, tmp_path / "features", 0),
        "recomputed": FeatureCache(CPU, None, 0),
        # The first stage's output does not fit, the second's does.
        "mixed": FeatureCache(CPU, None, 130 * 8 * 6 * 6 * 4),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_free_memory_never_changes_a_value(tmp_path: Path, dtype: torch.dtype) -> None:
    found: dict[str, Features] = {name: cache.features(SPLIT, PREFIX, dtype) for name, cache in tiers(tmp_path).items()}
    picked = torch.randperm(130, generator=torch.Generator().manual_seed(1))
    reference = found["memory"]
    assert reference.source.batch(picked).dtype == dtype
    for features in found.values():
        for count in (1, 7, 50, 64, 130):
            assert torch.equal(features.source.batch(picked[:count]), reference.source.batch(picked[:count]))
        for size in (33, 50):
            whole = torch.cat(list(features.source.batches(size)))
            assert torch.equal(whole, reference.source.batch(torch.arange(130)))
        assert torch.equal(features.statistics.mean, reference.statistics.mean)
        assert torch.equal(features.statistics.std, reference.statistics.std)
    assert [found[name].memory_bytes > 0 for name in ("memory", "disk", "recomputed")] == [True, False, False]
    assert found["disk"].disk_bytes > 0
    assert not list((tmp_path / "features").iterdir())


def test_features_are_the_prefix_in_eval_mode_and_their_statistics_are_right() -> None:
    features = FeatureCache(CPU, None).features(SPLIT, PREFIX, torch.float32)
    with torch.no_grad():
        expected = PREFIX[1].network.features(PREFIX[0].network.features(PIXELS.permute(0, 3, 1, 2)))
    got = features.source.batch(torch.arange(130))
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(features.statistics.mean.flatten(), expected.mean((0, 2, 3)))
    torch.testing.assert_close(features.statistics.std.flatten(), expected.std((0, 2, 3), correction=0))


def test_features_are_made_once_and_built_on_those_of_the_stage_before() -> None:
    cache = FeatureCache(CPU, None)
    first = cache.features(SPLIT, PREFIX[:1], torch.float32)
    second = cache.features(SPLIT, PREFIX, torch.float32)
    assert cache.features(SPLIT, PREFIX[:1], torch.float32) is first
    assert cache.features(SPLIT, PREFIX, torch.float32) is second
    assert cache.resident_bytes == first.memory_bytes + second.memory_bytes == 130 * 4 * 8 * (144 + 36)


@pytest.mark.parametrize("tier", ["memory", "disk", "recomputed", "mixed"])
def test_a_stop_is_heard_between_two_blocks_and_leaves_nothing_half_written(tmp_path: Path, tier: str) -> None:
    cache, whole, stopped = tiers(tmp_path)[tier], StopsAt(0), StopsAt(2)
    expected = tiers(tmp_path)[tier].features(SPLIT, PREFIX[:1], torch.float32, whole.check)
    assert whole.checks == 3, "as many as there are blocks"

    with pytest.raises(Stopped):
        cache.features(SPLIT, PREFIX[:1], torch.float32, stopped.check)

    assert stopped.checks == 2
    assert not cache._entries
    assert not list(tmp_path.glob("features/*"))
    again = cache.features(SPLIT, PREFIX[:1], torch.float32)
    picked = torch.arange(130)
    assert torch.equal(again.source.batch(picked), expected.source.batch(picked))
    assert torch.equal(again.statistics.std, expected.statistics.std)


def test_a_dead_channel_is_not_divided_by_zero() -> None:
    network = build_network(FIRST, 10, "linear", "he", 0, InputStatistics.identity(3))
    with torch.no_grad():
        network.convolutions[1].bias.fill_(-1e9)  # type: ignore[operator]
    features = FeatureCache(CPU, None).features(SPLIT, (unpack(pack(network)),), torch.float32)
    assert features.statistics.std.eq(1).all()


def test_the_least_recently_used_features_make_room() -> None:
    one = 130 * 8 * 144 * 4
    cache = FeatureCache(CPU, None, 2 * one)
    prefixes = [(frozen(FIRST, seed),) for seed in range(3)]
    kept = [cache.features(SPLIT, prefix, torch.float32) for prefix in prefixes[:2]]
    cache.features(SPLIT, prefixes[0], torch.float32)
    cache.features(SPLIT, prefixes[2], torch.float32)
    assert cache.resident_bytes == 2 * one
    assert cache.features(SPLIT, prefixes[0], torch.float32) is kept[0]
    assert cache.features(SPLIT, prefixes[1], torch.float32) is not kept[1]


def test_features_leave_room_for_what_others_took_since_the_worker_began(monkeypatch: pytest.MonkeyPatch) -> None:
    one = 130 * 8 * 144 * 4
    free, cache = 5 * one, FeatureCache(CPU, None)
    monkeypatch.setattr("worker.features.free_bytes", lambda _: free - cache.resident_bytes)
    first, second, third = ((frozen(FIRST, seed),) for seed in range(3))
    cache.features(SPLIT, first, torch.float32)
    cache.features(SPLIT, second, torch.float32)
    assert cache.resident_bytes == 2 * one, "two fifths of what is free"

    free = 3 * one
    cache.features(SPLIT, third, torch.float32)
    assert cache.resident_bytes == one
    free = 2 * one
    assert cache.features(SPLIT, second, torch.float32).memory_bytes == 0


def test_the_key_tells_everything_apart() -> None:
    keys = {
        feature_key("a", ["1"], torch.float32),
        feature_key("b", ["1"], torch.float32),
        feature_key("a", ["2"], torch.float32),
        feature_key("a", ["1", "2"], torch.float32),
        feature_key("a", ["1"], torch.bfloat16),
    }
    assert len(keys) == 5
