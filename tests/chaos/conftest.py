"""An embedded PostgreSQL of the chaos tests' own, so that they run once, whatever the others are run against."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.postgres import EmbeddedPostgres
from service.storage.migrations import upgrade


@pytest.fixture(scope="session")
def chaos_database() -> Iterator[str]:
    """The URL of a migrated database on an embedded server that nobody else uses."""
    home = Path(tempfile.mkdtemp(prefix="stagetune-chaos-", dir="/tmp"))
    home.chmod(0o711)
    try:
        with EmbeddedPostgres(home, fsync=False) as server:
            upgrade(server.url)
            yield server.url
    finally:
        shutil.rmtree(home, ignore_errors=True)
