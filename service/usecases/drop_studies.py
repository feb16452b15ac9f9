"""The studies of purged searches leave Optuna's tables."""

import logging
from collections.abc import Callable

from service.domain.errors import DatabaseUnavailable
from service.domain.projection import StudyRefused
from service.storage import Storage, purging

BATCH = 100
logger = logging.getLogger(__name__)


def drop_studies(store: Storage, drop: Callable[[str], object]) -> int:
    """Delete by name what is left to delete, and return how many; a crash in between deletes once more.

    Only where nobody shows studies at the same time: a new search may have got the name of one that goes.
    """
    with store.reading() as tx:
        names = purging.purged_studies(tx, BATCH)
    dropped = 0
    for name in names:
        try:
            drop(name)
        except DatabaseUnavailable:
            raise
        except StudyRefused as refusal:
            logger.error("the study %s of a purged search cannot be deleted: %s", name, refusal)
            continue
        except Exception:
            # One that cannot be deleted must keep no other from its way, nor any from being shown.
            logger.exception("the study %s of a purged search cannot be deleted", name)
            continue
        with store.transaction() as tx:
            purging.forget_study(tx, name)
        dropped += 1
    return dropped
