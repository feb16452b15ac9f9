"""Artifacts in a folder of this machine: ``root``/ab/<sha256>."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from service.artifacts.place import FoundFile, StoredFile
from service.artifacts.trouble import refuses_files, storage_errors
from service.domain.errors import NotFound

_CHUNK = 1024**2
_NAME = re.compile(r"[0-9a-f]{64}")


class Folder:
    """A place on a local or mounted file system; files come in by a rename within it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, file: Path, sha256: str) -> None:
        """Make the file durable and rename it; it has to lie on the same file system."""
        with storage_errors():
            target = self._target(sha256)
            with file.open("rb") as content:
                os.fsync(content.fileno())
            target.parent.mkdir(mode=0o700, exist_ok=True)
            file.replace(target)
            _sync(target.parent)

    def find(self, sha256: str) -> StoredFile | None:
        """What is there under a name."""
        try:
            status = self._target(sha256).stat()
        except FileNotFoundError:
            return None
        return StoredFile(sha256, status.st_size, f"{status.st_ino}-{status.st_mtime_ns}")

    def read(self, sha256: str) -> Iterator[bytes]:
        """The bytes in pieces of a megabyte. Raises NotFound."""
        try:
            with self._target(sha256).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except FileNotFoundError:
            raise NotFound("there is no artifact of this name") from None

    def path(self, sha256: str) -> Path:
        """The file itself."""
        return self._target(sha256)

    def remove(self, sha256: str) -> None:
        """Remove what is there; who reads it at this moment reads it to its end."""
        self._target(sha256).unlink(missing_ok=True)

    def listing(self) -> Iterator[FoundFile]:
        """Everything that is there; files of other names are none of ours."""
        for folder in sorted(self.root.iterdir()):
            if len(folder.name) != 2 or not folder.is_dir():
                continue
            for path in sorted(folder.iterdir()):
                if _NAME.fullmatch(path.name):
                    try:
                        status = path.stat()
                    except FileNotFoundError:
                        continue
                    yield FoundFile(path.name, status.st_size, time.time() - status.st_mtime)

    def trouble(self) -> str | None:
        """Why nothing can be stored at the moment, or None."""
        return "the artifact folder cannot be written to" if refuses_files(self.root) else None

    def _target(self, sha256: str) -> Path:
        return self.root / sha256[:2] / sha256


def _sync(directory: Path) -> None:
    """Make a rename in this directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
