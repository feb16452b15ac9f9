"""A worker says who it is and what it holds."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from service.domain.experiment import Dataset
from service.storage import Storage, workers


def register_worker(
    store: Storage,
    worker: UUID,
    *,
    name: str,
    device: str,
    slots: int,
    info: Mapping[str, str],
    datasets: Sequence[Dataset],
    token: UUID | None = None,
) -> bool:
    """Register under the id the worker chose, or bring it up to date; True when it is new.

    It belongs to the ``token`` that announced it first. Raises Forbidden for a worker of another.
    """
    with store.transaction() as tx:
        new = workers.register(tx, worker, name, device, slots, info, token)
        workers.hold(tx, worker, datasets)
    return new
