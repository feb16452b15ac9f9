"""Real PostgreSQL for the tests: one server a test process, one migrated template, one fresh database a test.

STAGETUNE_TEST_DATABASE_URL names another server to use instead of the embedded one; its user must be able to create
databases.
"""

import contextlib
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from service.postgres import EmbeddedPostgres, normalise_url


def pytest_configure() -> None:
    # `timeout` and CI end a run with SIGTERM, which would leave the embedded server behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A run under nohup, or in the background of a script, inherits these as ignored, and so would all it starts.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


LONG = ("fuzz", "chaos", "e2e", "browser")
"""Marks of tests that take long, the longest first."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a database with `postgres`, and run files that take long before the others.

    Tests that kill processes are about our processes: one PostgreSQL is enough for them. Files are handed out whole
    and in this order: with a long one at the end a single process would work on it while the others have nothing to do.
    """
    ranks: dict[Path, int] = {}
    for item in items:
        if "postgres" in getattr(item, "fixturenames", ()) and item.get_closest_marker("chaos") is None:
            item.add_marker(pytest.mark.postgres)
        rank = next((place for place, mark in enumerate(LONG) if item.get_closest_marker(mark)), len(LONG))
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a running PostgreSQL server whose user may create databases."""
    given = os.environ.get("STAGETUNE_TEST_DATABASE_URL")
    if given:
        yield normalise_url(given)
        return
    home = Path(tempfile.mkdtemp(prefix="stagetune-tests-", dir="/tmp"))
    home.chmod(0o711)  # as root, the server's account has to reach its folder in it
    try:
        with EmbeddedPostgres(home, fsync=False) as server:
            yield server.url
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def template_database(postgres: str) -> Iterator[str]:
    """The name of a migrated database without rows, from which every test's database is copied."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    _execute(postgres, f"CREATE DATABASE {name}")
    _migrate(_with_database(postgres, name))
    # A copy needs a template that nobody is connected to; pooled connections of the migration end here.
    _execute(postgres, f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
    _execute(postgres, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    yield name
    _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres: str, template_database: str) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh, migrated database of this test's own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    yield _with_database(postgres, name)
    _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(postgres: str) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh database without any tables, for the tests of the migrations themselves."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    _execute(postgres, f"CREATE DATABASE {name}")
    yield _with_database(postgres, name)
    _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def _migrate(url: str) -> None:
    try:
        from service.storage.migrations import upgrade
    except ModuleNotFoundError as error:
        if error.name not in ("service.storage", "service.storage.migrations"):
            raise
        return
    upgrade(url)


def _with_database(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _execute(url: str, sql: str) -> None:
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True  # CREATE DATABASE refuses a transaction
        with connection.cursor() as cursor:
            cursor.execute(sql)
