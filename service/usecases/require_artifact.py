"""Somebody wants the bytes of an artifact."""

import logging

from service.artifacts import ArtifactStore
from service.artifacts.place import StoredFile
from service.domain.errors import ArtifactDamaged, NotFound
from service.storage import Storage, artifacts

log = logging.getLogger(__name__)


def require_artifact(store: Storage, files: ArtifactStore, sha256: str) -> StoredFile:
    """An artifact whose bytes are as they were.

    Raises:
        NotFound: there is no artifact of this name.
        ArtifactDamaged: it is registered, but its bytes are gone or changed.
        StorageUnavailable: the bucket does not answer.
    """
    try:
        stored = files.sound(sha256)
    except ArtifactDamaged as error:
        log.error("%s", error.message)
        raise
    if stored is not None:
        return stored
    with store.reading() as tx:
        if not artifacts.is_stored(tx, sha256):
            raise NotFound("there is no artifact of this name")
    log.error("artifact %s is registered, but its bytes are gone from the store", sha256)
    raise ArtifactDamaged(f"the bytes of {sha256} are gone from the store: restore them, or upload them again")
