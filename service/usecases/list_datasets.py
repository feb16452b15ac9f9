"""The data sets that can be submitted against."""

from service.domain.datasets import ADDED_HINT, CATALOGUE
from service.domain.views import DatasetView
from service.storage import Storage, workers
from service.storage.workers import Holding


def list_datasets(store: Storage, alive_seconds: float) -> tuple[DatasetView, ...]:
    """The built-in ones in the catalogue's order, then those that workers registered; each content is a line."""
    with store.reading() as tx:
        holdings = workers.holdings(tx, alive_seconds)
    views: list[DatasetView] = []
    for entry in CATALOGUE:
        held = [holding for holding in holdings if holding.dataset.name == entry.name]
        if any(holding.dataset.digest == entry.digest for holding in held) or (held and entry.digest is None):
            views.extend(_view(holding, entry.hint) for holding in held)
        else:
            views.append(
                DatasetView(
                    name=entry.name,
                    digest=entry.digest,
                    shape=entry.shape,
                    classes=entry.classes,
                    train=entry.train,
                    test=entry.test,
                    held_by=0,
                    hint=entry.hint,
                )
            )
    names = {entry.name for entry in CATALOGUE}
    views.extend(_view(holding, ADDED_HINT) for holding in holdings if holding.dataset.name not in names)
    return tuple(views)


def _view(holding: Holding, hint: str) -> DatasetView:
    dataset = holding.dataset
    return DatasetView(
        name=dataset.name,
        digest=dataset.digest,
        shape=dataset.shape,
        classes=dataset.classes,
        train=dataset.train,
        test=dataset.test,
        held_by=holding.held_by,
        hint=hint,
    )
