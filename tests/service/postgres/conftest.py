import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from service.postgres import EmbeddedPostgres

CHECKOUT = Path(__file__).parents[3]
Rows = list[tuple[object, ...]]


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="stagetune-tests-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(home, fsync=False)
    yield server
    server.stop()
    assert not server.running()


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedPostgres]:
    """A server for the tests that only look at it."""
    path = Path(tempfile.mkdtemp(prefix="stagetune-tests-", dir="/tmp"))
    path.chmod(0o711)
    with EmbeddedPostgres(path, fsync=False) as server:
        yield server
    shutil.rmtree(path)


@pytest.fixture
def started(home: Path) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """Run a script on the home in another process; whatever it leaves is killed, the server apart."""
    processes: list[subprocess.Popen[str]] = []

    def start(script: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(home)],
            cwd=CHECKOUT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def query() -> Callable[[str, str], Rows]:
    """Run one statement at a URL over a connection of its own; its rows."""

    def run(url: str, sql: str) -> Rows:
        dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with contextlib.closing(psycopg2.connect(dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall()) if cursor.description else []

    return run
