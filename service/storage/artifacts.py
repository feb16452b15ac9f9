"""The register of artifacts; their bytes lie in the artifact store under the same names."""

from service.storage.engine import Transaction


def add(tx: Transaction, sha256: str, size: int) -> bool:
    """Register an artifact; False when it is there already."""
    added = tx.execute(
        "INSERT INTO artifact (sha256, size) VALUES (:sha256, :size) ON CONFLICT DO NOTHING",
        {"sha256": sha256, "size": size},
    )
    return added.rowcount == 1


def size(tx: Transaction, sha256: str) -> int | None:
    """The size of a registered artifact in bytes."""
    found: int | None = tx.execute(
        "SELECT size FROM artifact WHERE sha256 = :sha256", {"sha256": sha256}
    ).scalar_one_or_none()
    return found
