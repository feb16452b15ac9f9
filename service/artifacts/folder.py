"""Artifacts in a folder of this machine: ``root``/ab/<sha256>; uploads wait in ``root``/tmp."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from service.artifacts.place import FoundFile, StoredFile
from service.artifacts.trouble import reading_errors, refuses_files, storage_errors
from service.domain.errors import NotFound, StorageUnavailable
from service.durable import sync_folder

INCOMING = "tmp"
_CHUNK = 1024**2
_NAME = re.compile(r"[0-9a-f]{64}")


class Folder:
    """A place on a local or mounted file system; files come in by a rename within it.

    The folder for what is coming in is there as long as the place is: without it the file system is not mounted, and
    that a file is missing says nothing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / INCOMING).mkdir(mode=0o700, exist_ok=True)

    def put(self, file: Path, sha256: str) -> None:
        """Make the file durable and rename it; it has to lie on the same file system."""
        with storage_errors():
            target = self._target(sha256)
            with file.open("rb") as content:
                os.fsync(content.fileno())
            if not target.parent.exists():
                target.parent.mkdir(mode=0o700, exist_ok=True)
                sync_folder(self.root)
            file.replace(target)
            sync_folder(target.parent)

    def find(self, sha256: str) -> StoredFile | None:
        """What is there under a name. Raises StorageUnavailable."""
        try:
            with reading_errors():
                status = self._target(sha256).stat()
        except FileNotFoundError:
            self._require_root()
            return None
        return StoredFile(sha256, status.st_size, f"{status.st_ino}-{status.st_mtime_ns}")

    def read(self, sha256: str, part: range | None = None) -> Iterator[bytes]:
        """The bytes in pieces of a megabyte, or those of a part. Raises NotFound or StorageUnavailable.

        The file is open from now on: whoever removes it takes nothing but its name away.
        """
        try:
            with reading_errors():
                file = self._target(sha256).open("rb")
        except FileNotFoundError:
            self._require_root()
            raise NotFound("there is no artifact of this name") from None
        return _pieces(file, part)

    def path(self, sha256: str) -> Path:
        """The file itself."""
        return self._target(sha256)

    def remove(self, sha256: str) -> None:
        """Remove what is there; who reads it at this moment reads it to its end. Raises StorageUnavailable."""
        try:
            with reading_errors():
                self._target(sha256).unlink()
        except FileNotFoundError:
            self._require_root()

    def listing(self) -> Iterator[FoundFile]:
        """Everything that is there; files of other names are none of ours. Raises StorageUnavailable."""
        self._require_root()
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

    def _require_root(self) -> None:
        with reading_errors():
            if not (self.root / INCOMING).is_dir():
                raise StorageUnavailable(f"the artifact folder {self.root} is gone: is its file system mounted?")

    def _target(self, sha256: str) -> Path:
        return self.root / sha256[:2] / sha256


def _pieces(file: IO[bytes], part: range | None) -> Iterator[bytes]:
    with reading_errors(), file:
        file.seek(0 if part is None else part.start)
        left = None if part is None else len(part)
        while chunk := file.read(_CHUNK if left is None else min(_CHUNK, left)):
            left = None if left is None else left - len(chunk)
            yield chunk
