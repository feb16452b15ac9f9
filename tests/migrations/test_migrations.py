"""The migrations make what the models say, under a lock, and touch nothing but our schema."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from service.storage import Storage, migrations
from service.storage.migrations import DatabaseTooNew, current, downgrade, head, upgrade
from service.storage.tables import metadata
from service.tuning.projection import optuna_url

# Everything PostgreSQL knows of a schema, checks and partial indexes included, which compare_metadata overlooks.
CATALOGUE = """
SELECT 'column', table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable, column_default, is_identity)
FROM information_schema.columns WHERE table_schema = 'stagetune' AND table_name <> 'alembic_version'
UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = CAST('stagetune' AS regnamespace) AND conname NOT LIKE 'alembic_version%' AND contype <> 'n'
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes
WHERE schemaname = 'stagetune' AND tablename <> 'alembic_version'
ORDER BY 1, 2
"""


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    storage = Storage.connect(url, pool_size=1)
    with storage.engine.connect() as connection:
        yield connection
    storage.close()


def catalogue(url: str) -> list[tuple[str, ...]]:
    with connected(url) as connection:
        return [tuple(row) for row in connection.execute(text(CATALOGUE))]


def test_up_down_and_up_again(empty_database_url: str) -> None:
    assert current(empty_database_url) is None
    upgrade(empty_database_url)
    assert current(empty_database_url) == head()
    made = catalogue(empty_database_url)
    downgrade(empty_database_url, "base")
    assert catalogue(empty_database_url) == []
    upgrade(empty_database_url)
    assert catalogue(empty_database_url) == made
    upgrade(empty_database_url)


def test_migrations_make_what_the_models_say(database_url: str, empty_database_url: str) -> None:
    with connected(empty_database_url) as connection:
        connection.execute(text("CREATE SCHEMA stagetune"))
        metadata.create_all(connection)
        connection.commit()
    assert catalogue(database_url) == catalogue(empty_database_url)


def test_autogenerate_finds_nothing_to_do(database_url: str) -> None:
    with connected(database_url) as connection:
        connection.execute(text("SET search_path = public"))
        connection.dialect.default_schema_name = "public"
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table_schema": "stagetune",
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == "stagetune",
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        assert compare_metadata(context, metadata) == []


def test_servers_that_start_at_once_take_turns(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, [empty_database_url] * 4))
    assert current(empty_database_url) == head()


def test_optunas_tables_are_left_alone(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    study = optuna.create_study(storage=optuna_url(empty_database_url), study_name="kept")
    study.add_trial(optuna.trial.create_trial(value=0.5))

    downgrade(empty_database_url, "base")
    upgrade(empty_database_url)

    kept = optuna.load_study(storage=optuna_url(empty_database_url), study_name="kept")
    assert [trial.value for trial in kept.trials] == [0.5]
    with connected(empty_database_url) as connection:
        tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
        assert connection.execute(text(tables)).scalar_one() == 0


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    with connected(database_url) as connection:
        connection.execute(text("UPDATE stagetune.alembic_version SET version_num = '9999'"))
        connection.commit()
    with pytest.raises(DatabaseTooNew, match="9999"):
        upgrade(database_url)


def test_scripts_of_an_installed_package_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "service" / "storage" / "migrations.py"
    monkeypatch.setattr(migrations, "__file__", str(module))
    assert migrations.scripts() == tmp_path / "alembic"
    (tmp_path / "service" / "_alembic").mkdir(parents=True)
    assert migrations.scripts() == tmp_path / "service" / "_alembic"
