import errno
import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import obstore
import pytest

from service.artifacts import ArtifactStore, Bucket
from service.artifacts.checks import check_safetensors
from service.artifacts.trouble import storage_errors
from service.domain.errors import (
    ArtifactDamaged,
    BodyTooLarge,
    DigestMismatch,
    InvalidArtifact,
    NotFound,
    StagetuneError,
    StorageUnavailable,
)


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


def put(store: ArtifactStore, data: bytes, sha256: str | None = None) -> str:
    with store.upload(sha256 or hashlib.sha256(data).hexdigest()) as upload:
        upload.write(data[:10])
        upload.write(data[10:])
        return upload.finish().sha256


def names(store: ArtifactStore) -> list[str]:
    return [file.sha256 for file in store.listing()]


def incoming(store: ArtifactStore) -> list[Path]:
    return list(store._incoming.iterdir())


def test_a_checkpoint_is_found_under_its_digest(store: ArtifactStore) -> None:
    name = put(store, GOOD)
    found = store.sound(name)
    assert found is not None
    assert found.size == len(GOOD)
    assert b"".join(store.read(name)) == GOOD
    assert [(file.sha256, file.size) for file in store.listing()] == [(name, len(GOOD))]
    assert incoming(store) == []


def test_the_same_bytes_are_stored_once(store: ArtifactStore) -> None:
    assert put(store, GOOD) == put(store, GOOD)
    assert len(names(store)) == 1


def test_many_megabytes_come_back_as_they_were(store: ArtifactStore) -> None:
    data = bytes(range(256)) * 4 * 1024 * 20
    content = safetensors({"big": tensor("U8", (len(data),), (0, len(data)))}, data)
    name = put(store, content)
    store._sound.clear()
    assert store.sound(name) is not None
    pieces = list(store.read(name))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) < len(content)
    part = range(1_000_001, 9_000_003)
    assert b"".join(store.read(name, part)) == content[part.start : part.stop]


def test_what_was_removed_is_gone_and_may_be_removed_again(store: ArtifactStore) -> None:
    name = put(store, GOOD)
    store.remove(name)
    store.remove(name)
    assert store.find(name) is None
    assert store.sound(name) is None
    with pytest.raises(NotFound):
        list(store.read(name))
    assert names(store) == []


def test_bytes_under_a_wrong_name_are_refused_and_leave_nothing(store: ArtifactStore) -> None:
    with pytest.raises(DigestMismatch):
        put(store, GOOD, "0" * 64)
    assert names(store) == []
    assert incoming(store) == []


def test_the_limit_holds_while_the_bytes_come(store: ArtifactStore) -> None:
    store.limit = 10_000
    with pytest.raises(BodyTooLarge):
        put(store, bytes(10_001))
    assert names(store) == []
    assert incoming(store) == []


def test_damage_is_seen_before_a_byte_is_given_out(folder_store: ArtifactStore) -> None:
    name = put(folder_store, GOOD)
    path = folder_store.place.path(name)
    assert path is not None
    path.write_bytes(GOOD[:-1] + b"x")
    with pytest.raises(ArtifactDamaged, match=name):
        folder_store.sound(name)
    assert folder_store.intact(name) is None
    put(folder_store, GOOD)
    assert folder_store.sound(name) is not None


def test_a_bucket_overwritten_by_others_is_seen(bucket_url: str, tmp_path: Path) -> None:
    place = Bucket(bucket_url)
    store = ArtifactStore(place, tmp_path, 10_000)
    name = put(store, GOOD)
    obstore.put(place._store, f"{name[:2]}/{name}", GOOD[:-1] + b"x")
    with pytest.raises(ArtifactDamaged):
        store.sound(name)


def test_a_bucket_that_is_away_is_told_as_such(s3_endpoint: str, tmp_path: Path) -> None:
    assert s3_endpoint
    store = ArtifactStore(Bucket("s3://no-such-bucket"), tmp_path, 10_000)
    with pytest.raises(StorageUnavailable, match="s3://no-such-bucket"):
        put(store, GOOD)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageUnavailable):
        list(store.listing())


@pytest.mark.parametrize(
    "name",
    ["", "..", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 63 + "/", "a\x00" * 32, "a" * 64 + "\n"],
)
def test_only_digests_are_names(folder_store: ArtifactStore, name: str) -> None:
    with pytest.raises(NotFound):
        folder_store.find(name)
    with pytest.raises(NotFound):
        folder_store.upload(name)


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


def test_no_room_is_its_own_answer(folder_store: ArtifactStore) -> None:
    # /dev/full takes no byte: what a full disk does.
    with Path("/dev/full").open("wb", buffering=0) as full, folder_store.upload("a" * 64) as upload:
        upload._file.close()
        upload._file = full
        with pytest.raises(StagetuneError) as caught:
            upload.write(b"x")
    assert caught.value.code == "storage-full"


def test_only_abandoned_uploads_are_swept_away(folder_store: ArtifactStore) -> None:
    old, new = (folder_store._incoming / name for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    # Listed, and not there any more: another server on this folder has ended an upload.
    old.with_name("gone").symlink_to("nowhere")
    folder_store.discard_abandoned()
    assert not old.exists()
    assert new.exists()


def test_a_file_that_is_being_read_outlives_its_removal(folder_store: ArtifactStore) -> None:
    sha256 = put(folder_store, GOOD)
    content = folder_store.read(sha256)
    folder_store.remove(sha256)
    assert b"".join(content) == GOOD
    with pytest.raises(NotFound):
        folder_store.read(sha256)


def test_a_folder_that_cannot_be_read_is_away_and_no_mistake_of_ours(folder_store: ArtifactStore) -> None:
    sha256 = hashlib.sha256(GOOD).hexdigest()
    path = folder_store.place.path(sha256)
    assert path is not None
    path.parent.write_bytes(b"no folder")
    for look in (folder_store.find, folder_store.read, folder_store.remove):
        with pytest.raises(StorageUnavailable):
            look(sha256)


@pytest.mark.parametrize("unmounted", ["mount point", "all"])
def test_a_folder_that_is_gone_is_away_and_has_lost_nothing(folder_store: ArtifactStore, unmounted: str) -> None:
    sha256 = put(folder_store, GOOD)
    root = folder_store._incoming.parent
    root.rename(root.with_name("elsewhere"))
    if unmounted == "mount point":
        root.mkdir()
    for look in (folder_store.find, folder_store.sound, folder_store.read, folder_store.remove):
        with pytest.raises(StorageUnavailable, match="mounted"):
            look(sha256)
    with pytest.raises(StorageUnavailable):
        list(folder_store.listing())
    assert folder_store.trouble() is not None
    if unmounted == "mount point":
        root.rmdir()
    root.with_name("elsewhere").rename(root)
    assert b"".join(folder_store.read(sha256)) == GOOD


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_disk_that_does_not_answer_is_waited_for(number: int) -> None:
    with pytest.raises(StorageUnavailable), storage_errors():
        raise OSError(number, os.strerror(number))
