"""Which content a data set's name stands for."""

from service.domain.datasets import known
from service.domain.errors import UnknownDataset
from service.domain.experiment import Dataset
from service.storage import Storage, workers


def find_dataset(store: Storage, name: str, alive_seconds: float = workers.ALIVE_SECONDS) -> Dataset:
    """The data set as a worker holds it, those of live workers first, or as the catalogue knows it.

    Raises:
        UnknownDataset: nobody can say what the name stands for, and how to change that.
    """
    catalogued = known(name)
    if catalogued is not None and (dataset := catalogued.dataset()) is not None:
        return dataset
    with store.reading() as tx:
        holdings = workers.holdings(tx, alive_seconds, name)
    if holdings:
        return holdings[0].dataset
    if catalogued is not None:
        raise UnknownDataset(
            f"no worker has {name} yet; {catalogued.hint}. Start a worker that can get it, then submit"
        )
    raise UnknownDataset(
        f"no worker holds a data set named {name}, and none of that name is built in; "
        "`stagetune data add NAME PATH` on a worker's machine registers one"
    )
