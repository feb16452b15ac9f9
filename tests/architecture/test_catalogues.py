"""Server and worker name data sets by content, each from a catalogue of its own: they must agree."""

from service.domain import datasets
from worker.data import catalogue


def test_server_and_worker_know_the_same_data_sets() -> None:
    server = {
        known.name: (known.shape, known.classes, known.train, known.test, known.digest) for known in datasets.CATALOGUE
    }
    worker = {
        entry.name: (entry.shape, entry.classes, entry.train, entry.test, entry.digest)
        for entry in catalogue.CATALOGUE.values()
    }
    assert server == worker
