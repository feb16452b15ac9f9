"""Artifacts: checkpoints, snapshots and embeddings as files named by content, in a folder or in a bucket."""

from pathlib import Path

from service.artifacts.bucket import Bucket
from service.artifacts.folder import INCOMING, Folder
from service.artifacts.store import SPARE_BYTES, ArtifactStore, Upload

__all__ = ["SPARE_BYTES", "ArtifactStore", "Bucket", "Folder", "Upload", "open_store"]

SCHEME = "s3://"


def open_store(where: str | None, home: Path, limit: int, spare: int = SPARE_BYTES) -> ArtifactStore:
    """The store at ``where``, s3://bucket/prefix or a folder; by default the folder artifacts of the home.

    Raises StorageUnavailable for a bucket that cannot be meant, or without the library.
    """
    default = home / "artifacts"
    if where is not None and where.startswith(SCHEME):
        return ArtifactStore(Bucket(where), default / INCOMING, limit, spare)
    root = default if where is None else Path(where)
    return ArtifactStore(Folder(root), root / INCOMING, limit, spare)
