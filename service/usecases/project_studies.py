"""The reconciler: Optuna's tables are brought to what ours say."""

import logging
from collections.abc import Callable
from uuid import UUID

from service.domain.errors import DatabaseUnavailable
from service.domain.notation import write
from service.domain.projection import ProjectedStudy, StudyRefused
from service.domain.schemes import shown_space
from service.failpoints import reach
from service.storage import Storage, searches, trials

BATCH = 100
# In passes, one a second or more.
LONGEST_REST = 1_023
logger = logging.getLogger(__name__)


class Setbacks:
    """Searches that could not be shown. Each rests for some passes, twice as many after every further failure.

    So a study that never can be shown costs next to nothing, and many of them leave room for the others.
    """

    def __init__(self) -> None:
        self._failures: dict[UUID, int] = {}
        self._passes: dict[UUID, int] = {}

    def begin_pass(self) -> set[UUID]:
        """The searches that rest in this pass."""
        self._passes = {search: left - 1 for search, left in self._passes.items() if left > 0}
        return set(self._passes)

    def failed(self, search: UUID) -> None:
        """Tried at the next pass after the first failure, and from then on more and more seldom."""
        failures = self._failures[search] = self._failures.get(search, 0) + 1
        self._passes[search] = min(2 ** min(failures - 1, 30) - 1, LONGEST_REST)

    def succeeded(self, search: UUID) -> None:
        self._failures.pop(search, None)
        self._passes.pop(search, None)


# Draws the study of a name as it is read, once nobody else draws it; returns what it drew.
Show = Callable[[str, Callable[[], ProjectedStudy]], ProjectedStudy]


def project_studies(store: Storage, show: Show, setbacks: Setbacks | None = None) -> int:
    """Show every search that is new or has a trial that moved on since it was last shown, and return how many.

    A crash between showing and marking shows again, which ``show`` has to bear, and so does a server that has lost its
    lock and goes on beside another. ``setbacks`` are remembered from one pass to the next.
    """
    setbacks = setbacks or Setbacks()
    with store.reading() as tx:
        behind = trials.unprojected(tx, BATCH, setbacks.begin_pass())
    shown = 0
    for search_id in behind:
        try:
            _project(store, search_id, show)
            shown += 1
            setbacks.succeeded(search_id)
        except DatabaseUnavailable:
            raise
        except StudyRefused as refusal:
            setbacks.failed(search_id)
            logger.error("search %s cannot be shown: %s", search_id, refusal)
        except Exception:
            # One study that cannot be shown must not keep the others from it; it is tried again later.
            setbacks.failed(search_id)
            logger.exception("search %s cannot be shown in Optuna's tables", search_id)
    return shown


def _project(store: Storage, search_id: UUID, show: Show) -> None:
    with store.reading() as tx:
        name = searches.get(tx, search_id).name

    def read() -> ProjectedStudy:
        # Only now: rows from before another server drew newer ones would make those strays.
        with store.reading() as tx:
            search = searches.get(tx, search_id)
            rows = tuple(trials.for_projection(tx, search_id))
        return ProjectedStudy(
            name=search.name,
            space=shown_space(search.spec.search, search.planned.stage),
            trials=rows,
            user_attrs={
                "stagetune_search": str(search_id),
                "dataset": search.spec.dataset.name,
                "stage": write(search.planned.stage.layers),
                "prefix": " | ".join(write(stage.layers) for stage in search.planned.prefix),
                "epochs": str(search.planned.budget.epochs),
                "sampler": str(search.spec.search.sampler),
            },
        )

    reach("before-tell")
    drawn = show(name, read)
    reach("after-tell")
    with store.transaction() as tx:
        trials.mark_projected(tx, search_id, drawn.trials)
