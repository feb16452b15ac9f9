"""kill -9 in the middle of a migration, and servers that migrate at the same time."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from sqlalchemy import Connection, text

from service.storage import Storage
from service.storage.migrations import create_schemas, current, head, upgrade
from service.tuning.projection import optuna_url

REPOSITORY = Path(__file__).resolve().parents[2]
MIGRATE = "import sys; from service.storage.migrations import upgrade; upgrade(sys.argv[1])"
BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'optuna' ORDER BY tablename"


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    storage = Storage.connect(url, pool_size=1)
    with storage.engine.connect() as connection:
        yield connection
    storage.close()


@pytest.fixture
def old_url(empty_database_url: str) -> str:
    """A database at the first revision, with a study in Optuna's tables."""
    upgrade(empty_database_url, "0001")
    with connected(empty_database_url) as connection:
        create_schemas(connection)
    study = optuna.create_study(storage=optuna_url(empty_database_url), study_name="kept")
    study.add_trial(optuna.trial.create_trial(value=0.5))
    return empty_database_url


def optunas_tables(url: str) -> dict[str, list[tuple[object, ...]]]:
    with connected(url) as connection:
        names = list(connection.execute(text(TABLES)).scalars())
        return {
            name: [tuple(row) for row in connection.execute(text(f"SELECT * FROM optuna.{name} ORDER BY 1"))]
            for name in names
        }


@pytest.mark.parametrize("table", ["search", "artifact"])
def test_a_migration_killed_in_its_middle_is_done_by_the_next_server(old_url: str, table: str) -> None:
    theirs = optunas_tables(old_url)
    assert theirs
    with connected(old_url) as reader:
        # Whoever reads the table keeps the migration from going on, there and then.
        reader.execute(text(f"LOCK TABLE stagetune.{table} IN ACCESS SHARE MODE"))
        migrating = subprocess.Popen([sys.executable, "-c", MIGRATE, old_url], cwd=REPOSITORY)
        with connected(old_url) as watching:
            deadline = time.monotonic() + 60
            while watching.execute(text(BLOCKED)).scalar_one() == 0:
                assert migrating.poll() is None
                assert time.monotonic() < deadline
                watching.rollback()
                time.sleep(0.02)
        migrating.kill()
        migrating.wait()
    assert current(old_url) != head()

    upgrade(old_url)

    assert current(old_url) == head()
    assert optunas_tables(old_url) == theirs


def test_servers_that_start_at_once_keep_the_old_state_once(old_url: str) -> None:
    kept: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(upgrade, old_url, before=kept.append) for _ in range(4)]:
            done.result()
    assert kept == ["0001"]
    assert current(old_url) == head()


def test_nothing_is_kept_of_a_database_without_anything(empty_database_url: str) -> None:
    kept: list[str] = []
    upgrade(empty_database_url, before=kept.append)
    upgrade(empty_database_url, before=kept.append)
    assert kept == []
