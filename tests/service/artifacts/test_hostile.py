"""What poses as a checkpoint is refused by the store from its header alone, and what it takes, the library can read."""

import hashlib
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from safetensors.numpy import load, save

from service.artifacts import ArtifactStore, open_store
from service.artifacts.checks import check_safetensors
from service.domain.errors import InvalidArtifact
from tests.hostile_checkpoints import hostile, mutations

GOOD = save(
    {"weight": np.arange(12, dtype=np.float32).reshape(3, 4), "bias": np.ones(4, np.float32)}, {"stagetune": "{}"}
)
EXAMPLES = 20 * int(os.environ.get("STAGETUNE_FUZZ_EXAMPLES", "10"))


def taken(store: ArtifactStore, digest: str, content: bytes) -> bool:
    with store.upload(digest) as upload:
        for start in range(0, len(content), 2**20):
            upload.write(content[start : start + 2**20])
        try:
            upload.finish()
        except InvalidArtifact:
            return False
    return True


def test_all_that_poses_as_a_checkpoint_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    store = open_store(None, tmp_path, 2**30)
    for name, content in hostile(GOOD, canary):
        digest = hashlib.sha256(content).hexdigest()
        tracemalloc.start()
        try:
            assert taken(store, digest, content) is False, name
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 32 * 2**20, name
        assert store.find(digest) is None, name
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []
    assert not canary.exists()


@settings(max_examples=EXAMPLES, deadline=None)
@given(content=mutations(GOOD))
def test_what_the_store_takes_the_library_reads(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(content)
    try:
        check_safetensors(path)
    except InvalidArtifact:
        return
    (length,) = struct.unpack("<Q", content[:8])
    assert sum(value.nbytes for value in load(content).values()) == len(content) - 8 - length


def test_checking_reads_the_header_and_no_tensor(tmp_path: Path) -> None:
    path = tmp_path / "large"
    # A hole in a file takes no room on the disk, and would take half a gigabyte of memory to be read.
    size = 2**29
    header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, 8 + len(header) + size)
    tracemalloc.start()
    try:
        check_safetensors(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
