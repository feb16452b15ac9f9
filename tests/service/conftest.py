from collections.abc import Iterator

import pytest

from service.storage import Storage
from tests.service.lab import Lab


@pytest.fixture
def store(database_url: str) -> Iterator[Storage]:
    """A migrated database of this test's own."""
    storage = Storage.connect(database_url, pool_size=24)
    yield storage
    storage.close()


@pytest.fixture
def lab(store: Storage) -> Lab:
    return Lab(store)
