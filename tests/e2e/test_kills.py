"""kill -9 of a worker, of the server, and of the embedded PostgreSQL: the experiment ends as if nothing had been."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from service.postgres import EmbeddedPostgres
from tests.e2e.conftest import SUBMISSION, Stack
from tests.invariants import violations

pytestmark = pytest.mark.chaos

# Long enough that a kill hits a training: epochs cost little on 600 images of 8 x 8 pixels.
LONG = SUBMISSION | {"phases": [{"epochs": 20, "trials": 4}]}
TRIALS = 8


def test_a_killed_worker_loses_nothing(stack: Stack, database_url: str) -> None:
    first = stack.start_worker()
    with stack.client() as client:
        experiment = client.submit(LONG)
    stack.until(lambda: _count(database_url, "task WHERE state = 'leased'") > 0, "a lease")
    first.kill()
    stack.start_worker()
    assert stack.finish(experiment).state == "finished"
    assert _count(database_url, "attempt WHERE outcome = 'lost'") == 1
    _assert_complete(database_url, stack.home)


def test_a_drained_worker_hands_back_its_task_without_a_strike(stack: Stack, database_url: str) -> None:
    first = stack.start_worker()
    with stack.client() as client:
        experiment = client.submit(LONG)
    stack.until(lambda: _count(database_url, "task WHERE state = 'leased'") > 0, "a lease")
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    assert _count(database_url, "attempt WHERE outcome = 'released'") == 1
    assert _count(database_url, "task WHERE strikes > 0") == 0
    stack.start_worker()
    assert stack.finish(experiment).state == "finished"
    _assert_complete(database_url, stack.home)


def test_a_killed_server_loses_nothing(stack: Stack, database_url: str) -> None:
    worker = stack.start_worker()
    with stack.client() as client:
        experiment = client.submit(LONG)
    for results in (1, 3):
        stack.until(lambda: _count(database_url, "result") >= results, "results")  # noqa: B023 - waits inside
        stack.server.kill()
        stack.server.wait()
        stack.start_server()
    assert stack.finish(experiment).state == "finished"
    assert worker.poll() is None, "the worker outlives its server"
    assert _count(database_url, "task WHERE strikes > 0") == 0
    _assert_complete(database_url, stack.home)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Stack]:
    """A server with the embedded PostgreSQL."""
    tmp_path.chmod(0o711)
    started = Stack(tmp_path, None)
    yield started
    started.stop()
    database = EmbeddedPostgres(tmp_path)
    database.stop()
    assert not database.running()
    # Where no other account can reach a test's folder, the data lie elsewhere.
    shutil.rmtree(database.data.parent)


def test_a_killed_embedded_database_loses_nothing(embedded: Stack) -> None:
    embedded.start_worker()
    database = EmbeddedPostgres(embedded.home)
    # Not started from here: whoever does counts as a user, and a database with users is not stopped.
    url = database.url
    with embedded.client() as client:
        experiment = client.submit(LONG)
    for results in (1, 3):
        embedded.until(lambda: _count(url, "result") >= results, "results")  # noqa: B023 - waits inside
        postmaster = database.pid
        assert postmaster is not None
        os.kill(postmaster, signal.SIGKILL)
        embedded.until(lambda: not psutil.pid_exists(postmaster) or database.pid != postmaster, "its end")  # noqa: B023
        embedded.until(lambda: _answers(url), "the server to restart it")
    assert embedded.finish(experiment).state == "finished"
    _assert_complete(url, embedded.home)


def _assert_complete(database_url: str, home: Path) -> None:
    """Every trial was counted once, and the two evaluations."""
    assert _count(database_url, "trial WHERE state = 'complete'") == TRIALS
    assert _count(database_url, "result WHERE outcome = 'complete'") == TRIALS
    assert _count(database_url, "result WHERE outcome = 'evaluated'") == 2
    assert violations(database_url, home) == []


def _count(database_url: str, what: str) -> int:
    with psycopg2.connect(database_url.replace("+psycopg2", "", 1)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM stagetune.{what}")
        row = cursor.fetchone()
    connection.close()
    assert row is not None
    return int(row[0])


def _answers(database_url: str) -> bool:
    try:
        _count(database_url, "result")
    except psycopg2.Error:
        return False
    return True
