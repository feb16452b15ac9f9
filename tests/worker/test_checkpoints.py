import hashlib
import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from worker.checkpoints import CheckpointError, CheckpointStore, pack, unpack
from worker.training.heads import HEADS
from worker.training.network import InputStatistics, StageNetwork, build_network
from worker.training.spec import Conv, Pool, Stage

STAGE = Stage((Conv(3, 4), Pool(2)), (3, 6, 6), (4, 3, 3))


def network(seed: int = 0, mean: torch.Tensor | None = None) -> StageNetwork:
    statistics = InputStatistics(torch.rand(3, 1, 1) if mean is None else mean, torch.full((3, 1, 1), 2.0))
    return build_network(STAGE, 10, "linear", "torch", seed, statistics)


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header: object, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize("mean", [torch.rand(3, 1, 1), torch.rand(3, 6, 6)])
def test_a_stage_comes_back_as_it_was(mean: torch.Tensor) -> None:
    trained = network(mean=mean)
    content = pack(trained)
    found = unpack(content, STAGE)
    pixels = torch.randint(0, 256, (5, 3, 6, 6), dtype=torch.uint8)
    assert found.stage == STAGE
    assert found.digest == hashlib.sha256(content).hexdigest()
    assert not found.network.training
    assert torch.equal(found.network(pixels), trained(pixels))


NORMED = Stage((Conv(3, 4), Pool(2), Conv(3, 5), Pool(1)), (3, 6, 6), (5, 3, 3), norms=(1, 2))


@pytest.mark.parametrize("head", HEADS)
def test_heads_and_norms_come_back_with_their_running_statistics(head: str) -> None:
    trained = build_network(NORMED, 10, head, "he", 0, InputStatistics.identity(3, 255.0))
    pixels = torch.randint(0, 256, (5, 3, 6, 6), dtype=torch.uint8)
    trained.segments = (2,)
    trained(pixels)
    found = unpack(pack(trained), NORMED).network
    assert (found.head_name, found.segments) == (head, ())
    assert torch.equal(found(pixels), trained.eval()(pixels))
    assert found.norms.state_dict()["2.running_mean"].any()
    assert pack(found) == pack(trained)


def test_norms_are_part_of_what_is_expected() -> None:
    content = pack(build_network(NORMED, 10, "linear", "he", 0, InputStatistics.identity(3)))
    with pytest.raises(CheckpointError, match="expected"):
        unpack(content, Stage(NORMED.layers, NORMED.input_shape, NORMED.output_shape))


@pytest.mark.parametrize("norms", [[2, 1], [1, 1], [4], [-1], [True], ["1"], [1.0], [[1]], 1, {"1": 2}, "12", [1], []])
def test_hostile_norms_are_refused(norms: object) -> None:
    content = pack(build_network(NORMED, 10, "linear", "he", 0, InputStatistics.identity(3)))
    header, data = split(content)
    document = json.loads(header["__metadata__"]["stagetune"])
    document["stage"]["norms"] = norms
    header["__metadata__"]["stagetune"] = json.dumps(document)
    with pytest.raises(CheckpointError):
        unpack(join(header, data))


def test_a_negative_running_variance_is_refused() -> None:
    broken = build_network(NORMED, 10, "linear", "he", 0, InputStatistics.identity(3))
    broken.norms.state_dict()["1.running_var"].fill_(-1.0)
    with pytest.raises(CheckpointError, match="negative"):
        unpack(pack(broken))


def test_the_same_network_gives_the_same_bytes() -> None:
    mean = torch.ones(3, 1, 1)
    assert pack(network(mean=mean)) == pack(network(mean=mean).to(memory_format=torch.channels_last))  # type: ignore[call-overload]


def test_another_stage_than_expected_is_refused() -> None:
    with pytest.raises(CheckpointError, match="expected"):
        unpack(pack(network()), Stage((Conv(3, 4), Pool(3)), (3, 6, 6), (4, 2, 2)))


def _set(*path: str, to: object) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        header, data = split(content)
        place = header
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to
        return join(header, data)

    return change


def _stage_document(**changes: object) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        header, data = split(content)
        document = json.loads(header["__metadata__"]["stagetune"]) | changes
        header["__metadata__"]["stagetune"] = json.dumps(document)
        return join(header, data)

    return change


def _with_nan(content: bytes) -> bytes:
    return content[:-4] + struct.pack("<f", float("nan"))


def _repeated(content: bytes) -> bytes:
    header, data = split(content)
    entry = json.dumps(header["head.linear.bias"])
    return join(json.dumps(header)[:-1].encode() + f', "head.linear.bias": {entry}}}'.encode(), data)


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "short": lambda content: content[:7],
    "truncated": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "header beyond the file": lambda content: struct.pack("<Q", 1 << 19) + content[8:],
    "header beyond reason": lambda content: struct.pack("<Q", 1 << 62) + content[8:],
    "no json": lambda _: join(b"{" * 100, b""),
    "deep json": lambda _: join(b"[" * 500_000, b""),
    "a list": lambda _: join([], b""),
    "a pickle": lambda content: b"\x80\x04cos\nsystem\n(S'true'\ntR." + content,
    "no metadata": _set("__metadata__", to=None),
    "too many tensors": lambda _: join({f"t{i}": {} for i in range(10_002)}, b""),
    "repeated key": _repeated,
    "type not allowed": _set("head.linear.bias", "dtype", to="F64"),
    "type unhashable": _set("head.linear.bias", "dtype", to=["F32"]),
    "negative offset": _set("head.linear.bias", "data_offsets", to=[-40, 0]),
    "overlapping": _set("head.linear.bias", "data_offsets", to=[0, 40]),
    "shape too large": _set("head.linear.bias", "shape", to=[1 << 60]),
    "shape not whole": _set("head.linear.bias", "shape", to=[10.0]),
    "shape of another": _set("head.linear.bias", "shape", to=[5, 2]),
    "another format": _stage_document(format="other"),
    "unknown head": _stage_document(head="eval"),
    "unhashable head": _stage_document(head=["linear"]),
    "too many classes": _stage_document(classes=10**9),
    "impossible stage": _stage_document(stage={"layers": [], "input_shape": [3, 6, 6], "output_shape": [3, 6, 6]}),
    "huge stage": _stage_document(
        stage={
            "layers": [{"kind": "conv", "size": 99_999, "filters": 99_999}] * 9,
            "input_shape": [3, 6, 6],
            "output_shape": [99_999, 6, 6],
        }
    ),
    "unknown layer": _stage_document(
        stage={"layers": [{"kind": "exec", "size": 1}], "input_shape": [3, 6, 6], "output_shape": [3, 6, 6]}
    ),
    "not finite": _with_nan,
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_are_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(CheckpointError):
        unpack(change(pack(network())))


def test_the_store_names_by_content_and_keeps_once(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    content = pack(network())
    digest = store.put(content)
    assert store.put(content) == digest == hashlib.sha256(content).hexdigest()
    assert store.has(digest)
    assert store.read(digest) == content
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == [store.path(digest).name]


def test_the_store_throws_damaged_bytes_away(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    digest = store.put(b"something")
    store.path(digest).write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="damaged"):
        store.read(digest)
    assert not store.has(digest)


@pytest.mark.parametrize("digest", ["../../etc/passwd", "A" * 64, "", "0" * 63])
def test_the_store_opens_nothing_but_digests(tmp_path: Path, digest: str) -> None:
    with pytest.raises(CheckpointError, match="SHA-256"):
        CheckpointStore(tmp_path).read(digest)


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, capacity=30)
    first, second = store.put(b"a" * 10), store.put(b"b" * 10)
    now = time.time_ns()
    for age, digest in ((30, second), (60, first)):
        os.utime(store.path(digest), ns=(now - age * 10**9, now - age * 10**9))
    store.path(first)
    third = store.put(b"c" * 15)
    assert (store.has(first), store.has(second), store.has(third)) == (True, False, True)
