"""Both ends of every connection notice a peer that is gone; over a Unix socket, where nobody can be, nothing fails."""

from collections.abc import Callable, Iterator

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from service.postgres import EmbeddedPostgres, places
from service.postgres.silence import OURS, THEIRS
from service.storage import Storage, migrations
from service.tuning.projection import StudyProjection
from tests.survival.servers import free_port

Query = Callable[[str, str], list[tuple[object, ...]]]
NONE = dict.fromkeys(THEIRS, "0")
SHOW = (
    "SELECT name, setting FROM pg_settings"
    " WHERE name LIKE 'tcp_keepalives_%' OR name IN ('tcp_user_timeout', 'search_path')"
)


@pytest.fixture
def over_tcp(server: EmbeddedPostgres, query: Query, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an embedded server that listens on TCP as well, which the product's never does."""
    port = free_port()
    for setting in ("listen_addresses = '127.0.0.1'", f"port = {port}"):
        query(server.start(), f"ALTER SYSTEM SET {setting}")
    server.stop()
    monkeypatch.setattr(places, "SOCKET_PORT", port)
    url = make_url(server.start())
    yield url.set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
    server.stop()


def settings_of_everything(url: str) -> list[dict[str, str]]:
    """What PostgreSQL's end of each kind of connection of ours is set to."""
    found: list[dict[str, str]] = []
    store, projection = Storage.connect(url, pool_size=1), StudyProjection(url)
    with store.transaction() as tx:
        found.append({row.name: row.setting for row in tx.execute(SHOW)})
    with migrations._locked(url) as migrating:
        found.append({row.name: row.setting for row in migrating.execute(text(SHOW))})
    with projection.storage.engine.connect() as drawing:
        found.append({row.name: row.setting for row in drawing.execute(text(SHOW))})
    with projection._alone("somebody") as alone, alone.cursor() as cursor:
        cursor.execute(SHOW)
        found.append(dict(cursor.fetchall()))
    projection.close()
    store.close()
    return found


def test_postgres_notices_a_server_of_ours_that_is_gone(over_tcp: str) -> None:
    migrations.upgrade(over_tcp)
    schemas = ["stagetune", "stagetune", "optuna", "optuna"]
    assert settings_of_everything(over_tcp) == [{**THEIRS, "search_path": schema} for schema in schemas]


def test_over_a_unix_socket_the_settings_are_taken_and_ignored(server: EmbeddedPostgres) -> None:
    migrations.upgrade(server.start())
    schemas = ["stagetune", "stagetune", "optuna", "optuna"]
    assert settings_of_everything(server.url) == [{**NONE, "search_path": schema} for schema in schemas]


def test_a_server_of_ours_notices_a_postgres_that_is_gone(database_url: str) -> None:
    store, projection = Storage.connect(database_url, pool_size=1), StudyProjection(database_url)

    def parameters(driver: object) -> dict[str, str]:
        assert isinstance(driver, psycopg2.extensions.connection)
        return driver.info.dsn_parameters

    asked = {name: str(value) for name, value in OURS.items()}
    with store.engine.connect() as ours, projection.storage.engine.connect() as drawing, projection._alone("a") as one:
        for driver in (ours.connection.driver_connection, drawing.connection.driver_connection, one):
            assert asked.items() <= parameters(driver).items()
    projection.close()
    store.close()
