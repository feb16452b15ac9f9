"""The artifact store: files named by the SHA-256 of their bytes, checked before they get that name."""

import errno
import hashlib
import json
import os
import re
import shutil
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self
from uuid import uuid4

from service.domain.errors import BodyTooLarge, DigestMismatch, InvalidArtifact, NotFound, StorageFull

MAX_HEADER_BYTES = 1024**2
MAX_TENSORS = 10_000
ABANDONED_SECONDS = 24 * 3600
MIN_FREE_BYTES = 64 * 1024**2
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the store."""

    sha256: str
    size: int
    path: Path


class Upload:
    """Bytes on their way in; they get their name only when they are what the name says."""

    def __init__(self, store: "ArtifactStore", sha256: str, path: Path, file: IO[bytes]) -> None:
        self._store, self._sha256, self._path, self._file = store, sha256, path, file
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Append. Raises body-too-large or storage-full."""
        self._size += len(chunk)
        if self._size > self._store.limit:
            raise BodyTooLarge(f"artifacts may have up to {self._store.limit} bytes")
        self._hash.update(chunk)
        with _storage_errors():
            self._file.write(chunk)

    def finish(self) -> StoredFile:
        """Verify, make durable and name the file. Raises digest-mismatch, invalid-artifact or storage-full."""
        if self._hash.hexdigest() != self._sha256:
            raise DigestMismatch("the bytes received do not have the SHA-256 in the address; send them again")
        with _storage_errors():
            self._file.flush()
            check_safetensors(self._path)
            os.fsync(self._file.fileno())
            target = self._store.path(self._sha256)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            self._path.replace(target)
            _sync_directory(target.parent)
        return StoredFile(self._sha256, self._size, target)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A write that failed may fail again while closing; the temporary file goes in any case.
        try:
            self._file.close()
        except OSError:
            pass
        finally:
            self._path.unlink(missing_ok=True)


class ArtifactStore:
    """Files under ``root``/ab/<sha256>; no path a client gives is ever opened."""

    def __init__(self, root: Path, limit: int) -> None:
        self.root, self.limit = root, limit
        self._incoming = root / "tmp"
        for folder in (root, self._incoming):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where an artifact is or would be. Raises not-found for anything but 64 hexadecimal digits."""
        if not _DIGEST.fullmatch(sha256):
            raise NotFound("artifacts are named by 64 lower-case hexadecimal digits")
        return self.root / sha256[:2] / sha256

    def find(self, sha256: str) -> StoredFile | None:
        path = self.path(sha256)
        return StoredFile(sha256, path.stat().st_size, path) if path.is_file() else None

    def upload(self, sha256: str) -> Upload:
        """Begin an upload; use it as a context manager."""
        self.path(sha256)
        path = self._incoming / uuid4().hex
        with _storage_errors():
            return Upload(self, sha256, path, path.open("xb"))

    def trouble(self) -> str | None:
        """Why nothing can be stored at the moment, or None."""
        if not os.access(self._incoming, os.W_OK):
            return "the artifact folder cannot be written to"
        free = shutil.disk_usage(self.root).free
        return f"only {free // 1024**2} MiB are free for artifacts" if free < MIN_FREE_BYTES else None

    def discard_abandoned(self) -> None:
        """Remove what uploads that a crash cut off have left; no upload that goes on is as old."""
        for path in self._incoming.iterdir():
            if path.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                path.unlink(missing_ok=True)


def check_safetensors(path: Path) -> None:
    """Refuse (invalid-artifact) a file whose header does not describe exactly its bytes; tensors are not read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0] if size >= 8 else -1
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise _invalid("its header is missing, cut off or larger than 1 MiB")
        raw = file.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        raise _invalid("its header is not JSON") from None
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise _invalid(f"its header is not an object of up to {MAX_TENSORS} tensors")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _invalid("its metadata is not text")
    spans = sorted(_span(name, entry) for name, entry in header.items())
    end = 0
    for start, stop in spans:
        if start != end:
            raise _invalid("its tensors overlap or leave gaps")
        end = stop
    if end != size - 8 - length:
        raise _invalid("its tensors do not cover the file exactly")


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _span(name: str, entry: object) -> tuple[int, int]:
    """The bytes of a tensor, checked against its type and shape."""
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(start), int(stop)]} if kind in ITEM_BYTES:
            count = 1
            for side in shape:
                if type(side) is not int or not 0 <= side <= 2**40:
                    raise _invalid(f"tensor {name[:80]!r} has an impossible shape")
                count = min(count * side, 2**62)
            if not 0 <= start <= stop or stop - start != count * ITEM_BYTES[kind]:
                raise _invalid(f"tensor {name[:80]!r} does not have the bytes its shape needs")
            return start, stop
        case _:
            raise _invalid(f"tensor {name[:80]!r} has an unknown type or no shape and offsets")


def _invalid(reason: str) -> InvalidArtifact:
    return InvalidArtifact(f"this is not a safetensors checkpoint: {reason}")


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise StorageFull("the server cannot store artifacts: no space left or read-only") from error
        raise


def _sync_directory(path: Path) -> None:
    """Make a rename in this directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
