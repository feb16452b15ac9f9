"""An artifact arrives."""

from service.artifacts import ArtifactStore, Upload
from service.artifacts.place import StoredFile
from service.domain.errors import StorageUnavailable
from service.failpoints import reach
from service.storage import Storage, artifacts


def reuse_artifact(store: Storage, files: ArtifactStore, sha256: str) -> StoredFile | None:
    """An artifact that needs no upload: it is kept from collection for a while from now on."""
    with store.transaction() as tx:
        registered = artifacts.touch(tx, sha256)
    # Bytes that were lost or damaged are mended by a new upload.
    return files.intact(sha256) if registered else None


def record_artifact(store: Storage, upload: Upload) -> StoredFile:
    """Verify received bytes, store and register them. A crash in between leaves nothing that anybody could find.

    Raises:
        DigestMismatch, InvalidArtifact: the bytes are not what they should be.
        StorageFull, StorageUnavailable: they cannot be stored now.
    """
    upload.verify()
    with store.transaction() as tx:
        announced = artifacts.announce(tx, upload.sha256)
    stored = upload.place()
    reach("after-upload")
    with store.transaction() as tx:
        if not artifacts.add(tx, stored.sha256, stored.size, announced):
            raise StorageUnavailable("the artifact was collected at the moment it was stored; send it again")
    return stored
