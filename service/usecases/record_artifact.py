"""An artifact has arrived."""

from service.storage import Storage, artifacts


def record_artifact(store: Storage, sha256: str, size: int) -> bool:
    """Register an artifact whose bytes are stored; False when it was registered before."""
    with store.transaction() as transaction:
        return artifacts.add(transaction, sha256, size)
