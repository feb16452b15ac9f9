"""What a place for artifacts can do; there are two, a folder and a bucket."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An artifact in its place: its size in bytes, and a stamp that changes whenever its bytes are written anew."""

    sha256: str
    size: int
    stamp: str


@dataclass(frozen=True, slots=True)
class FoundFile:
    """An artifact as a listing shows it, with the seconds since it was written."""

    sha256: str
    size: int
    age_seconds: float


class Place(Protocol):
    """Where bytes lie under their SHA-256. Names are checked before they come here."""

    def put(self, file: Path, sha256: str) -> None:
        """Take a file in, whole or not at all, and durable; the file itself may be used up.

        Raises StorageFull or StorageUnavailable.
        """

    def find(self, sha256: str) -> StoredFile | None:
        """What is there under a name. Raises StorageUnavailable."""

    def read(self, sha256: str, part: range | None = None) -> Iterator[bytes]:
        """The bytes in pieces, or those of a part.

        Raises NotFound or StorageUnavailable; that nothing is there, at once and not with the first piece.
        """

    def path(self, sha256: str) -> Path | None:
        """The file on this machine, in a place that has files."""

    def remove(self, sha256: str) -> None:
        """Remove what is there, if anything. Raises StorageUnavailable."""

    def listing(self) -> Iterator[FoundFile]:
        """Everything that is there. Raises StorageUnavailable."""

    def trouble(self) -> str | None:
        """Why nothing can be stored at the moment, or None."""
