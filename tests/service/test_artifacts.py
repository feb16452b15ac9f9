import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from service.artifacts import ArtifactStore, check_safetensors
from service.domain.errors import BodyTooLarge, DigestMismatch, InvalidArtifact, NotFound, StagetuneError


def safetensors(header: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


GOOD = safetensors(
    {
        "__metadata__": {"stage": "1"},
        "weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "bias": {"dtype": "BF16", "shape": [2], "data_offsets": [16, 20]},
    },
    bytes(20),
)


def tensor(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts", 10_000)


def put(store: ArtifactStore, data: bytes, sha256: str | None = None) -> Path:
    with store.upload(sha256 or hashlib.sha256(data).hexdigest()) as upload:
        upload.write(data[:10])
        upload.write(data[10:])
        return upload.finish().path


def test_a_checkpoint_is_found_under_its_digest(store: ArtifactStore) -> None:
    path = put(store, GOOD)
    found = store.find(path.name)
    assert found is not None
    assert found.size == len(GOOD)
    assert found.path.read_bytes() == GOOD
    assert list((store.root / "tmp").iterdir()) == []


def test_bytes_under_a_wrong_name_are_refused_and_leave_nothing(store: ArtifactStore) -> None:
    with pytest.raises(DigestMismatch):
        put(store, GOOD, "0" * 64)
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_the_limit_holds_while_the_bytes_come(store: ArtifactStore) -> None:
    with pytest.raises(BodyTooLarge):
        put(store, bytes(10_001))
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "name",
    ["", "..", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 63 + "/", "a\x00" * 32, "a" * 64 + "\n"],
)
def test_only_digests_are_names(store: ArtifactStore, name: str) -> None:
    with pytest.raises(NotFound):
        store.find(name)
    with pytest.raises(NotFound):
        store.upload(name)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04\x95.",
        b"PK\x03\x04" + bytes(100),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100 * 1024**2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{",
        struct.pack("<Q", 4) + b"nope",
        struct.pack("<Q", 60_000) + b"[" * 60_000,
        safetensors({"a": tensor()}),
        safetensors({"a": tensor()}, bytes(5)),
        safetensors({"a": tensor(), "b": tensor()}, bytes(4)),
        safetensors({"a": tensor(offsets=(4, 8))}, bytes(8)),
        safetensors({"a": tensor(offsets=(4, 0))}, bytes(4)),
        safetensors({"a": tensor(offsets=(-4, 0))}, bytes(4)),
        safetensors({"a": tensor(dtype="OBJECT")}, bytes(4)),
        safetensors({"a": tensor(shape=(2,))}, bytes(4)),
        safetensors({"a": tensor(shape=(-1,))}, bytes(4)),
        safetensors({"a": tensor(shape=(True,))}, bytes(4)),
        safetensors({"a": tensor(shape=(2**40, 2**40))}, bytes(4)),
        safetensors({"a": "b"}, bytes(4)),
        safetensors({f"t{n}": tensor(shape=(0,), offsets=(0, 0)) for n in range(10_001)}),
    ],
)
def test_what_is_not_exactly_a_checkpoint_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(data)
    with pytest.raises(InvalidArtifact):
        check_safetensors(path)


def test_no_room_is_its_own_answer(store: ArtifactStore) -> None:
    # /dev/full takes no byte: what a full disk does.
    with Path("/dev/full").open("wb", buffering=0) as full, store.upload("a" * 64) as upload:
        upload._file.close()
        upload._file = full
        with pytest.raises(StagetuneError) as caught:
            upload.write(b"x")
    assert caught.value.code == "storage-full"


def test_only_abandoned_uploads_are_swept_away(store: ArtifactStore) -> None:
    old, new = (store.root / "tmp" / name for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    store.discard_abandoned()
    assert not old.exists()
    assert new.exists()
