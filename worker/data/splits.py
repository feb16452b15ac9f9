"""Which images train, validate and test."""

from dataclasses import dataclass

from worker.data.errors import DataError
from worker.data.store import DatasetInfo


@dataclass(frozen=True)
class Splits:
    """Ranges into a data set's images."""

    train: slice
    validation: slice
    test: slice


def split_dataset(info: DatasetInfo, train: int, validation: int) -> Splits:
    """The first ``train`` and the last ``validation`` training images, and the test set. Raises DataError."""
    if train < 1 or validation < 1 or train + validation > info.train:
        raise DataError(
            f"{info.name} has {info.train} training images, asked are {train} for training "
            f"and {validation} for validation; choose at least one for each and no more in all"
        )
    return Splits(
        train=slice(0, train),
        validation=slice(info.train - validation, info.train),
        test=slice(info.train, info.train + info.test),
    )
