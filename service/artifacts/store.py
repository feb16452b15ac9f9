"""The artifact store: bytes named by their SHA-256, checked before they get that name and before they are given out."""

import hashlib
import re
import shutil
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO, Self
from uuid import uuid4

from service.artifacts.checks import check_safetensors
from service.artifacts.place import FoundFile, Place, StoredFile
from service.artifacts.trouble import refuses_files, storage_errors
from service.domain.errors import ArtifactDamaged, BodyTooLarge, DigestMismatch, NotFound, StorageFull

# An upload that goes on writes to its file; one that says nothing for as long has been ended.
ABANDONED_SECONDS = 3600
SPARE_BYTES = 256 * 1024**2
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REMEMBERED = 100_000


class Upload:
    """Bytes on their way in; they get their name only when they are what the name says."""

    def __init__(self, store: "ArtifactStore", sha256: str, path: Path, file: IO[bytes]) -> None:
        self.sha256 = sha256
        self._store, self._path, self._file = store, path, file
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Append. Raises body-too-large or storage-full."""
        self._size += len(chunk)
        self._store.check_size(self._size)
        self._store.check_room(len(chunk))
        self._hash.update(chunk)
        with storage_errors():
            self._file.write(chunk)

    def verify(self) -> None:
        """Refuse what is not what it should be: digest-mismatch, invalid-artifact or storage-full."""
        if self._hash.hexdigest() != self.sha256:
            raise DigestMismatch("the bytes received do not have the SHA-256 in the address; send them again")
        with storage_errors():
            self._file.flush()
            check_safetensors(self._path)

    def place(self) -> StoredFile:
        """Make verified bytes durable under their name. Raises storage-full or storage-unavailable."""
        return self._store.take(self._path, self.sha256)

    def finish(self) -> StoredFile:
        """Verify and place."""
        self.verify()
        return self.place()

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
    """Artifacts in a place; uploads wait in ``incoming`` until they are whole. No path a client gives is ever opened.

    ``limit`` is the size of the largest artifact in bytes. Uploads leave ``spare`` bytes of their disk free: the
    database may lie on it as well, and without room it stops.
    """

    def __init__(self, place: Place, incoming: Path, limit: int, spare: int = SPARE_BYTES) -> None:
        self.place, self.limit, self._spare = place, limit, spare
        self._incoming = incoming
        incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = Lock()
        self._sound: OrderedDict[StoredFile, bool] = OrderedDict()

    def find(self, sha256: str) -> StoredFile | None:
        """What is there under a name. Raises not-found for what is no name, or storage-unavailable."""
        return self.place.find(check_name(sha256))

    def upload(self, sha256: str) -> Upload:
        """Begin an upload; use it as a context manager."""
        check_name(sha256)
        path = self._incoming / uuid4().hex
        with storage_errors():
            return Upload(self, sha256, path, path.open("xb"))

    def take(self, file: Path, sha256: str) -> StoredFile:
        """Put a verified file into its place."""
        self.place.put(file, sha256)
        stored = self.place.find(sha256)
        if stored is None:
            raise ArtifactDamaged("the artifact vanished as soon as it was stored")
        self._remember(stored, sound=True)
        return stored

    def sound(self, sha256: str) -> StoredFile | None:
        """What is there under a name, its bytes checked once for every time they were written.

        Raises ArtifactDamaged if they are not what the name says.
        """
        stored = self.find(sha256)
        if stored is None:
            return None
        with self._lock:
            sound = self._sound.get(stored)
        if sound is None:
            seen = hashlib.sha256()
            for chunk in self.place.read(sha256):
                seen.update(chunk)
            sound = seen.hexdigest() == sha256
            self._remember(stored, sound=sound)
        if not sound:
            raise ArtifactDamaged(f"the bytes stored as {sha256} are damaged: restore them, or upload them again")
        return stored

    def intact(self, sha256: str) -> StoredFile | None:
        """What is there under a name, if it is undamaged."""
        try:
            return self.sound(sha256)
        except ArtifactDamaged:
            return None

    def read(self, sha256: str, part: range | None = None) -> Iterator[bytes]:
        """The bytes in pieces, or those of a part. Raises not-found or storage-unavailable."""
        return self.place.read(check_name(sha256), part)

    def remove(self, sha256: str) -> None:
        """Remove the bytes; whoever calls this knows that nothing names them."""
        self.place.remove(check_name(sha256))

    def listing(self) -> Iterator[FoundFile]:
        """Everything that is there."""
        return self.place.listing()

    def trouble(self) -> str | None:
        """Why nothing can be stored at the moment, or None."""
        if refuses_files(self._incoming):
            return "the artifact folder cannot be written to"
        try:
            self.check_room(1)
        except StorageFull as error:
            return error.message
        return self.place.trouble()

    def check_size(self, size: int) -> None:
        """Raises BodyTooLarge for more bytes than an artifact may have."""
        if size > self.limit:
            raise BodyTooLarge(f"artifacts may have up to {self.limit} bytes")

    def check_room(self, size: int) -> None:
        """Raises StorageFull if so many bytes more would take what uploads leave free."""
        with storage_errors():
            free = shutil.disk_usage(self._incoming).free
        if free - size < self._spare:
            raise StorageFull(
                f"the disk for artifacts has {free // 1024**2} MiB left, and the last {self._spare // 1024**2} are "
                "not for artifacts"
            )

    def discard_abandoned(self) -> None:
        """Remove what uploads that a crash cut off have left; no upload that goes on is as old."""
        for path in self._incoming.iterdir():
            # Another server on this folder may end an upload at any moment.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                    path.unlink()

    def _remember(self, stored: StoredFile, *, sound: bool) -> None:
        with self._lock:
            self._sound[stored] = sound
            if len(self._sound) > _REMEMBERED:
                self._sound.popitem(last=False)


def check_name(sha256: str) -> str:
    """The name itself. Raises not-found for anything but 64 hexadecimal digits."""
    if not _DIGEST.fullmatch(sha256):
        raise NotFound("artifacts are named by 64 lower-case hexadecimal digits")
    return sha256
