"""The workers that are there, and those that were lately."""

from service.domain.views import WorkerView
from service.storage import Storage, workers


def list_workers(store: Storage, alive_seconds: float) -> tuple[WorkerView, ...]:
    """Workers seen within a day; one not seen within ``alive_seconds`` is offline."""
    with store.reading() as tx:
        return workers.views(tx, alive_seconds)
