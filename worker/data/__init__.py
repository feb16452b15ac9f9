"""Data sets: named, decoded once into uint8 arrays, identified by content."""

from worker.data.errors import DataError
from worker.data.fetch import fetch
from worker.data.library import available, open_dataset, register
from worker.data.preprocessing import input_mean_and_std
from worker.data.splits import Splits, split_dataset
from worker.data.store import Dataset, DatasetInfo

__all__ = [
    "DataError",
    "Dataset",
    "DatasetInfo",
    "Splits",
    "available",
    "fetch",
    "input_mean_and_std",
    "open_dataset",
    "register",
    "split_dataset",
]
