"""The studies of purged searches leave Optuna's tables."""

from collections.abc import Callable

from service.storage import Storage, purging

BATCH = 100


def drop_studies(store: Storage, drop: Callable[[str], object]) -> int:
    """Delete by name what is left to delete, and return how many; a crash in between deletes once more.

    Only where nobody shows studies at the same time: a new search may have got the name of one that goes.
    """
    with store.reading() as tx:
        names = purging.purged_studies(tx, BATCH)
    for name in names:
        drop(name)
        with store.transaction() as tx:
            purging.forget_study(tx, name)
    return len(names)
