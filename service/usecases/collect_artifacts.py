"""Remove artifacts that nothing names any more."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from service.artifacts import ArtifactStore
from service.artifacts.place import FoundFile
from service.storage import Storage, artifacts, snapshots

BATCH = 500


@dataclass(slots=True)
class Collection:
    """What a collection found: artifacts that nothing named, and bytes; what is named but not there as it should be."""

    removed: int = 0
    removed_bytes: int = 0
    missing: list[str] = field(default_factory=list)


def collect_artifacts(store: Storage, files: ArtifactStore, grace_seconds: float, *, dry: bool = False) -> Collection:
    """Remove what results, snapshots and tasks do not name and nobody uploaded for ``grace_seconds``.

    Bytes without a row go as well; the snapshots of tasks that have ended go at once, those of failed ones after the
    grace. ``dry`` only counts, and looks for artifacts whose bytes are gone or damaged. Raises StorageUnavailable or
    DatabaseUnavailable.
    """
    if dry:
        return _look(store, files, grace_seconds)
    found = Collection()
    files.discard_abandoned()
    with store.transaction() as tx:
        ended = snapshots.drop_ended(tx, grace_seconds)
    _count(found, discard_artifacts(store, files, ended))
    _adopt_orphans(store, files, grace_seconds)
    while True:
        with store.reading() as tx:
            batch = artifacts.unreachable(tx, grace_seconds, BATCH)
        gone = discard_artifacts(store, files, [artifact.sha256 for artifact in batch], grace_seconds)
        _count(found, gone)
        if len(batch) < BATCH or not gone:
            break
    return found


def discard_artifacts(
    store: Storage, files: ArtifactStore, names: Iterable[str], grace_seconds: float = 0
) -> list[artifacts.Registered]:
    """Remove those of some artifacts that nothing names; they are returned."""
    gone: list[artifacts.Registered] = []
    for name in names:
        with store.transaction() as tx:
            withdrawn = artifacts.withdraw(tx, name, grace_seconds)
        if withdrawn is None:
            continue
        with store.transaction() as tx:
            if artifacts.forget(tx, withdrawn):
                # While the row is held: nobody can register these bytes between their removal and the end of the row.
                files.remove(name)
                gone.append(withdrawn)
    return gone


def _adopt_orphans(store: Storage, files: ArtifactStore, grace_seconds: float) -> None:
    """Register bytes that a crash left without a row, as old as they are: there is one way only to remove anything."""
    for page in _old_files(files, grace_seconds):
        with store.transaction() as tx:
            known = artifacts.known(tx, [file.sha256 for file in page])
            for file in page:
                if file.sha256 not in known:
                    artifacts.adopt(tx, file.sha256, file.size, file.age_seconds)


def _look(store: Storage, files: ArtifactStore, grace_seconds: float) -> Collection:
    found = Collection()
    with store.reading() as tx:
        _count(found, artifacts.unneeded(tx, grace_seconds))
        needed = artifacts.needed(tx)
    for page in _old_files(files, grace_seconds):
        with store.reading() as tx:
            known = artifacts.known(tx, [file.sha256 for file in page])
        orphans = [file for file in page if file.sha256 not in known]
        found.removed += len(orphans)
        found.removed_bytes += sum(file.size for file in orphans)
    found.missing = [artifact.sha256 for artifact in needed if files.intact(artifact.sha256) is None]
    return found


def _old_files(files: ArtifactStore, grace_seconds: float) -> Iterator[list[FoundFile]]:
    """What lies in the store for longer than the grace, in pages."""
    old = (file for file in files.listing() if file.age_seconds > grace_seconds)
    while page := list(islice(old, BATCH)):
        yield page


def _count(found: Collection, gone: list[artifacts.Registered]) -> None:
    found.removed += len(gone)
    found.removed_bytes += sum(artifact.size for artifact in gone)
