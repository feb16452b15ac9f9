"""The data sets that come with the service, by name."""

from dataclasses import dataclass

from service.domain.experiment import Dataset
from service.domain.layers import Shape


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A built-in data set. Without a ``digest`` its content is known only from a worker that holds it."""

    name: str
    shape: Shape
    classes: int
    train: int
    test: int
    hint: str
    digest: str | None = None

    def dataset(self) -> Dataset | None:
        """By content, where that is known."""
        if self.digest is None:
            return None
        return Dataset(self.name, self.digest, self.shape, self.classes, self.train, self.test)


_DIGITS = "8e6e4d39d9e81ecab0292cd7fbed94441e78064e8e493c02009a5f8976375541"
_FASHION_MNIST = "fd8125baabf6093cc1ed2349286ac3e40088ffbe4753bb3cd8c8cb25918c293e"
_CIFAR10 = "82aed8e4c48f40611fbd615c51f6addc80512c40d87d92f060492cf90b46a5f2"


def _hint(name: str) -> str:
    return (
        f"run `stagetune data fetch {name}` on a worker's machine, "
        f"or put its files into {name}/ of the folder that STAGETUNE_DATASETS names there"
    )


CATALOGUE = (
    KnownDataset("digits", (1, 8, 8), 10, 1_437, 360, "comes with scikit-learn: every worker has it", _DIGITS),
    KnownDataset("mnist", (1, 28, 28), 10, 60_000, 10_000, _hint("mnist")),
    KnownDataset("fashion-mnist", (1, 28, 28), 10, 60_000, 10_000, _hint("fashion-mnist"), _FASHION_MNIST),
    KnownDataset("cifar10", (3, 32, 32), 10, 50_000, 10_000, _hint("cifar10"), _CIFAR10),
    KnownDataset("cifar100", (3, 32, 32), 100, 50_000, 10_000, _hint("cifar100")),
)
ADDED_HINT = "`stagetune data add NAME PATH` on the machine of another worker brings it there too"


def known(name: str) -> KnownDataset | None:
    """The built-in data set of this name."""
    return next((dataset for dataset in CATALOGUE if dataset.name == name), None)


def what_is_missing(name: str, workers: int, holders: int) -> str | None:
    """Why nothing can run on a data set that ``holders`` of the ``workers`` now connected hold; None if it can."""
    if workers == 0:
        return "no worker is connected yet: `stagetune worker` starts one"
    if holders == 0:
        entry = known(name)
        return f"no worker holds {name} yet: {entry.hint if entry else ADDED_HINT}"
    return None
