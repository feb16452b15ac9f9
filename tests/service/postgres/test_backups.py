"""Dumps of the embedded server: whole or not there, restored as a whole or not at all."""

import contextlib
import os
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from client.cli import app
from service.app import create_app
from service.postgres import EmbeddedPostgres, PostgresError, backup_before
from service.postgres.backups import KEPT
from service.settings import Settings
from service.storage import migrations
from tests.service.api.conftest import serving

Query = Callable[[str, str], list[tuple[object, ...]]]
Start = Callable[[str], "subprocess.Popen[str]"]

EARLIER = "0005"
RESTORE = """
import sys
from pathlib import Path
from service.postgres import EmbeddedPostgres
home = Path(sys.argv[1])
server = EmbeddedPostgres(home, fsync=False)
server.start()
run = server._client
def stop(*arguments):
    failure = run(*arguments)
    print("restored", flush=True)
    sys.stdin.readline()
    return failure
server._client = stop
server.restore(home / "before.dump")
"""


def test_a_backup_can_be_restored(query: Query, server: EmbeddedPostgres, home: Path) -> None:
    query(server.start(), "CREATE TABLE kept AS SELECT 7 AS value")
    target = home / "before.dump"
    server.backup(target)
    query(server.url, "DROP TABLE kept")
    server.restore(target)
    assert query(server.url, "SELECT value FROM kept") == [(7,)]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_backup_holds_no_logins(query: Query, server: EmbeddedPostgres, home: Path) -> None:
    query(server.start(), "CREATE SCHEMA stagetune")
    for table in ("session", "login_code", "token"):
        query(server.url, f"CREATE TABLE stagetune.{table} AS SELECT 'a' AS hash")
    server.backup(home / "before.dump")
    server.restore(home / "before.dump")
    counts = [
        query(server.url, f"SELECT count(*) FROM stagetune.{table}") for table in ("session", "login_code", "token")
    ]
    assert counts == [[(0,)], [(0,)], [(1,)]]


def test_a_failed_backup_leaves_nothing(server: EmbeddedPostgres, home: Path) -> None:
    server.start()
    server.stop()
    with pytest.raises(PostgresError, match="backup"):
        server.backup(home / "before.dump")
    assert not list(home.glob("before.dump*"))


def test_what_is_no_dump_leaves_the_database_as_it_was(query: Query, server: EmbeddedPostgres, home: Path) -> None:
    query(server.start(), "CREATE TABLE kept AS SELECT 7 AS value")
    target = home / "before.dump"
    server.backup(target)
    target.write_bytes(target.read_bytes()[:-200])
    with pytest.raises(PostgresError, match="cannot be restored"):
        server.restore(target)
    assert query(server.url, "SELECT value FROM kept") == [(7,)]
    assert query(server.url, "SELECT count(*) FROM pg_database WHERE datname LIKE 'stagetune%'") == [(1,)]


def test_a_database_in_use_is_not_replaced(query: Query, server: EmbeddedPostgres, home: Path) -> None:
    query(server.start(), "CREATE TABLE kept AS SELECT 7 AS value")
    server.backup(home / "before.dump")
    dsn = make_url(server.url).set(drivername="postgresql").render_as_string(hide_password=False)
    with contextlib.closing(psycopg2.connect(dsn)), pytest.raises(PostgresError, match="in use: stop the server"):
        server.restore(home / "before.dump")
    server.restore(home / "before.dump")
    assert query(server.url, "SELECT value FROM kept") == [(7,)]


def test_a_restore_killed_in_its_middle_changes_nothing_and_can_be_repeated(
    query: Query, server: EmbeddedPostgres, home: Path, started: Start
) -> None:
    query(server.start(), "CREATE TABLE kept AS SELECT 7 AS value")
    server.backup(home / "before.dump")
    query(server.url, "UPDATE kept SET value = 8")
    restoring = started(RESTORE)
    assert restoring.stdout is not None
    assert restoring.stdout.readline() == "restored\n"
    os.kill(restoring.pid, signal.SIGKILL)
    restoring.wait()
    assert query(server.url, "SELECT value FROM kept") == [(8,)]
    server.restore(home / "before.dump")
    assert query(server.url, "SELECT value FROM kept") == [(7,)]


def test_the_last_few_backups_are_kept(query: Query, server: EmbeddedPostgres, home: Path) -> None:
    query(server.start(), "SELECT 1")
    folder = home / "backups"
    folder.mkdir()
    mine, partial = folder / "mine.dump", folder / "before-0001-20200101T000000Z.dump.partial"
    for file in (mine, partial):
        file.write_text("")
    for number in range(KEPT + 1):
        old = folder / f"before-0001-2020010{number + 1}T000000Z.dump"
        old.write_text("")
        os.utime(old, (number, number))

    made = backup_before(server, home, "0002")

    dumps = sorted(path.name for path in folder.iterdir())
    assert dumps == [
        "before-0001-20200103T000000Z.dump",
        "before-0001-20200104T000000Z.dump",
        "before-0001-20200105T000000Z.dump",
        "before-0001-20200106T000000Z.dump",
        made.name,
        "mine.dump",
    ]


@pytest.fixture
def earlier(query: Query, server: EmbeddedPostgres) -> EmbeddedPostgres:
    """An embedded database of an earlier version, with something in it; stopped."""
    migrations.upgrade(server.start())
    query(server.url, "INSERT INTO stagetune.artifact (sha256, size) VALUES (repeat('a', 64), 7)")
    migrations.downgrade(server.url, EARLIER)
    server.stop()
    return server


@pytest.mark.parametrize("way", ["a server that starts", "db upgrade"])
def test_what_migrates_has_dumped_the_database_before(
    query: Query, earlier: EmbeddedPostgres, home: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.delenv("STAGETUNE_DATABASE_URL", raising=False)
    monkeypatch.setenv("STAGETUNE_HOME", str(home))
    cli = CliRunner()

    def migrate() -> None:
        if way == "db upgrade":
            result = cli.invoke(app, ["db", "upgrade"])
            assert result.exit_code == 0, result.output
        else:
            with serving(create_app(Settings.load(home=home, threads=2, dashboard=False))):
                pass

    migrate()
    (dump,) = (home / "backups").iterdir()
    assert dump.name.startswith(f"before-{migrations.head()}-")
    assert migrations.current(earlier.start()) == migrations.head()
    # There is nothing to keep where nothing is migrated.
    migrate()
    assert list((home / "backups").iterdir()) == [dump]
    earlier.stop()

    assert cli.invoke(app, ["db", "restore", str(dump)]).exit_code == 0

    assert migrations.current(earlier.start()) == EARLIER
    assert query(earlier.url, "SELECT size FROM stagetune.artifact") == [(7,)]
