"""The reconciler: Optuna's tables are brought to what ours say."""

import logging
from collections.abc import Callable
from uuid import UUID

from service.domain.errors import DatabaseUnavailable
from service.domain.notation import write
from service.domain.projection import ProjectedStudy
from service.domain.schemes import shown_space
from service.failpoints import reach
from service.storage import Storage, searches, trials

BATCH = 100
logger = logging.getLogger(__name__)


def project_studies(store: Storage, show: Callable[[ProjectedStudy], object]) -> int:
    """Show every search that is new or has a trial that moved on since it was last shown, and return how many.

    A crash between showing and marking shows again, which ``show`` has to bear.
    """
    with store.reading() as tx:
        behind = trials.unprojected(tx, BATCH)
    shown = 0
    for search_id in behind:
        try:
            _project(store, search_id, show)
            shown += 1
        except DatabaseUnavailable:
            raise
        except Exception:
            # One study that cannot be shown must not keep the others from it; it is tried again at every pass.
            logger.exception("search %s cannot be shown in Optuna's tables", search_id)
    return shown


def _project(store: Storage, search_id: UUID, show: Callable[[ProjectedStudy], object]) -> None:
    with store.reading() as tx:
        search = searches.get(tx, search_id)
        projected = tuple(trials.for_projection(tx, search_id))
    reach("before-tell")
    show(
        ProjectedStudy(
            name=search.name,
            space=shown_space(search.spec.search, search.planned.stage),
            trials=projected,
            user_attrs={
                "stagetune_search": str(search_id),
                "dataset": search.spec.dataset.name,
                "stage": write(search.planned.stage.layers),
                "prefix": " | ".join(write(stage.layers) for stage in search.planned.prefix),
                "epochs": str(search.planned.budget.epochs),
                "sampler": str(search.spec.search.sampler),
            },
        )
    )
    reach("after-tell")
    with store.transaction() as tx:
        trials.mark_projected(tx, search_id, projected)
