"""Migrations: the schema is brought to the code's state under a lock, by the server at start and by ``db upgrade``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from service.domain.errors import StagetuneError
from service.storage.engine import SCHEMA, Storage, translated

OPTUNA_SCHEMA = "optuna"
LOCK = "stagetune:migrations"


class DatabaseTooNew(StagetuneError):
    """The database was made by a newer version of stagetune; install that version or restore a backup."""


def scripts() -> Path:
    """The folder of the migrations: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "_alembic"
    return packaged if packaged.is_dir() else package.parent / "alembic"


def head() -> str:
    """The revision this code needs."""
    revision = _directory().get_current_head()
    if revision is None:
        raise RuntimeError(f"no migrations in {scripts()}")
    return revision


def current(url: str | URL) -> str | None:
    """The revision of the database; None before the first migration."""
    with _connection(url) as connection:
        return _current(connection)


def upgrade(url: str | URL, revision: str = "head", before: Callable[[str], None] | None = None) -> None:
    """Bring the database to ``revision`` and create the schemas; two servers that start at once take turns.

    ``before`` is called with the present revision under the same lock, if there is something to migrate and to lose.

    Raises:
        DatabaseTooNew: the database stands at a revision that this code does not know.
        DatabaseUnavailable: it cannot be reached.
    """
    with _locked(url) as connection:
        _refuse_newer(connection)
        present = _current(connection)
        connection.commit()
        if before is not None and present is not None and present != head():
            before(present)
        create_schemas(connection)
        command.upgrade(_config(connection), revision)


def downgrade(url: str | URL, revision: str) -> None:
    """Go back to ``revision``; "base" removes every table of ours."""
    with _locked(url) as connection:
        _refuse_newer(connection)
        command.downgrade(_config(connection), revision)


def create_schemas(connection: Connection) -> None:
    """Make our schema and Optuna's; the second before Optuna, which creates tables but no schema."""
    for schema in (SCHEMA, OPTUNA_SCHEMA):
        # Looked up first: a role without CREATE on the database may run on schemas made for it.
        found = connection.execute(text("SELECT to_regnamespace(:schema) IS NOT NULL"), {"schema": schema}).scalar_one()
        if not found:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
    connection.commit()


@contextmanager
def _connection(url: str | URL) -> Iterator[Connection]:
    storage = Storage.connect(url, pool_size=1)
    try:
        with translated(), storage.engine.connect() as connection:
            yield connection
    finally:
        storage.close()


@contextmanager
def _locked(url: str | URL) -> Iterator[Connection]:
    with _connection(url) as connection:
        # The lock is the session's: it spans the transactions of all migrations, and a crash lets it go.
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_lock(hashtextextended(:name, 0))"), {"name": LOCK})
        connection.commit()
        yield connection


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _directory() -> ScriptDirectory:
    return ScriptDirectory(str(scripts()))


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA}).get_current_revision()


def _refuse_newer(connection: Connection) -> None:
    revision = _current(connection)
    known = {script.revision for script in _directory().walk_revisions()}
    if revision is not None and revision not in known:
        raise DatabaseTooNew(f"the database is at revision {revision}, which this version (at {head()}) does not know")
    connection.commit()
