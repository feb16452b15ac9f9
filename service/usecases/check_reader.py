"""Whether somebody may read an artifact: people all of them, a worker what its tasks need."""

from service.domain.access import Identity, Scope
from service.domain.errors import NotFound
from service.storage import Storage, artifacts


def check_reader(store: Storage, sha256: str, reader: Identity) -> None:
    """Return if the reader may have the artifact, if there is one.

    Raises NotFound, as if there were none, for a worker's token of whose workers none holds a task that names it.
    """
    if Scope.READ in reader.scope.granted:
        return
    if reader.token is not None:
        with store.reading() as tx:
            if artifacts.is_named_for(tx, sha256, reader.token):
                return
    raise NotFound("there is no artifact of this name")
