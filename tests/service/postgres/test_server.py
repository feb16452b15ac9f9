"""The embedded server against what machines really do to it: kill -9, two starts at once, numbers used again."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg2
import pytest
from sqlalchemy.engine import make_url

from service.postgres import EmbeddedPostgres, PostgresError, places

Query = Callable[[str, str], list[tuple[object, ...]]]
Start = Callable[[str], "subprocess.Popen[str]"]

START_AND_WAIT = """
import sys
from pathlib import Path
from service.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), fsync=False)
server.start()
print(server.pid, flush=True)
sys.stdin.readline()
server.stop()
print(server.running(), flush=True)
"""
START_AND_LEAVE = """
import sys
from pathlib import Path
from service.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), fsync=False)
server.start()
print(server.pid)
"""


def read_pid(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def postmasters(server: EmbeddedPostgres) -> list[int]:
    """The processes that were started on the server's data; its backends call themselves otherwise."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if "-D" in command and str(server.data) in command and Path(command[0]).name == "postgres":
                found.append(process.pid)
    return found


class TestLife:
    def test_keeps_its_data_over_a_restart(self, query: Query, server: EmbeddedPostgres) -> None:
        query(server.start(), "CREATE TABLE kept AS SELECT 7 AS value")
        server.stop()
        assert not server.running()
        assert query(server.start(), "SELECT value FROM kept") == [(7,)]

    def test_starting_twice_gives_the_same_server(self, running: EmbeddedPostgres) -> None:
        url, pid = running.start(), running.pid
        assert (running.start(), running.pid) == (url, pid)

    def test_stopping_what_never_started_does_nothing(self, home: Path) -> None:
        server = EmbeddedPostgres(home)
        server.stop()
        assert not server.running()

    def test_names_the_driver_and_speaks_utf8(self, query: Query, running: EmbeddedPostgres) -> None:
        assert running.start().startswith("postgresql+psycopg2://")
        assert query(running.url, "SHOW server_encoding") == [("UTF8",)]
        assert query(running.url, "SELECT upper('ä')") == [("Ä",)]

    def test_is_durable_unless_told_otherwise(self, query: Query, home: Path) -> None:
        with EmbeddedPostgres(home) as server:
            assert query(server.url, "SHOW fsync") == [("on",)]

    def test_stops_at_the_end_of_a_with_block(self, home: Path) -> None:
        with EmbeddedPostgres(home, fsync=False) as server:
            assert server.running()
        assert not server.running()


class TestDeaths:
    def test_outlives_a_kill_of_its_starter_and_is_adopted(
        self, query: Query, server: EmbeddedPostgres, started: Start
    ) -> None:
        starter = started(START_AND_WAIT)
        pid = read_pid(starter)
        starter.kill()
        starter.wait()
        query(server.start(), "SELECT 1")
        assert server.pid == pid
        server.stop()
        assert not server.running()

    def test_kills_of_either_side_again_and_again_leave_one_server_with_every_row(
        self, query: Query, server: EmbeddedPostgres, started: Start
    ) -> None:
        query(server.start(), "CREATE TABLE kept (round integer)")
        for number in range(3):
            starter = started(START_AND_WAIT)
            postmaster = read_pid(starter)
            query(server.url, f"INSERT INTO kept VALUES ({number})")
            starter.kill()
            os.kill(postmaster, signal.SIGKILL)
            starter.wait()
            query(server.start(), "SELECT 1")
            assert postmasters(server) == [server.pid]
            assert query(server.url, "SELECT count(*) FROM kept") == [(number + 1,)]
        server.stop()
        assert postmasters(server) == []

    def test_holds_no_pipe_of_its_starter(self, server: EmbeddedPostgres, started: Start) -> None:
        output, _ = started(START_AND_LEAVE).communicate(timeout=60)
        assert server.running()
        assert server.pid == int(output)
        server.start()

    def test_runs_in_a_session_that_no_ctrl_c_reaches(self, running: EmbeddedPostgres) -> None:
        assert running.pid is not None
        assert os.getsid(running.pid) != os.getsid(0)
        assert os.getpgid(running.pid) != os.getpgid(0)

    def test_recovers_committed_rows_when_it_is_killed(self, query: Query, server: EmbeddedPostgres) -> None:
        query(server.start(), "CREATE TABLE kept AS SELECT 7 AS value")
        dsn = make_url(server.url).set(drivername="postgresql").render_as_string(hide_password=False)
        with contextlib.closing(psycopg2.connect(dsn)):  # its backend is orphaned by the kill
            killed = server.pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            assert query(server.start(), "SELECT value FROM kept") == [(7,)]
        assert server.pid != killed

    def test_ensure_restarts_only_what_died(self, query: Query, server: EmbeddedPostgres) -> None:
        server.start()
        first = server.pid
        assert first is not None
        server.ensure()
        assert server.pid == first
        os.kill(first, signal.SIGKILL)
        while server.running():  # a killed process takes a moment to go
            pass
        query(server.ensure(), "SELECT 1")
        assert server.pid != first

    def test_starts_although_its_number_is_now_a_foreign_process(self, query: Query, server: EmbeddedPostgres) -> None:
        server.start()
        pid_file = server.data / "postmaster.pid"
        socket_lock = next(places.socket_folder(server.data.parent).glob(".*.lock"))
        stale = {path: path.read_text() for path in (pid_file, socket_lock)}
        server.stop()
        owner = server.data.stat().st_uid
        foreign = subprocess.Popen(["sleep", "600"], user=owner if os.geteuid() == 0 else None)
        try:
            for path, text in stale.items():
                path.write_text(f"{foreign.pid}\n{text.partition(chr(10))[2]}")
            assert not server.running()
            server.stop()
            query(server.start(), "SELECT 1")
            server.stop()
            assert foreign.poll() is None
        finally:
            foreign.kill()
            foreign.wait()

    def test_begins_anew_after_a_crash_in_the_middle_of_initdb(self, query: Query, server: EmbeddedPostgres) -> None:
        server.start()
        server.stop()
        server.data.rename(server.data.with_name("data.new"))
        assert query(server.start(), "SELECT 1") == [(1,)]


class TestSharing:
    def test_two_starts_at_once_make_one_server_and_the_last_user_stops_it(self, started: Start) -> None:
        first, second = started(START_AND_WAIT), started(START_AND_WAIT)
        assert read_pid(first) == read_pid(second)
        assert first.communicate("stop\n")[0] == "True\n"
        assert second.communicate("stop\n")[0] == "False\n"


class TestFailures:
    def test_refuses_data_of_another_major_version(self, server: EmbeddedPostgres) -> None:
        server.start()
        server.stop()
        (server.data / "PG_VERSION").write_text("16\n")
        with pytest.raises(PostgresError, match="PostgreSQL 16, this release runs 18"):
            server.start()

    def test_a_failed_start_is_told_in_one_line_with_the_log(self, server: EmbeddedPostgres) -> None:
        server.start()
        server.stop()
        with (server.data / "postgresql.conf").open("a") as configuration:
            configuration.write("no_such_setting = 1\n")
        with pytest.raises(PostgresError, match="no_such_setting") as failure:
            server.start()
        assert "\n" not in str(failure.value)
        assert str(server.log) in str(failure.value)

    def test_missing_data_is_never_replaced_by_an_empty_database(self, server: EmbeddedPostgres) -> None:
        server.start()
        server.stop()
        root = server.data.parent
        root.rename(root.with_name("moved"))
        with pytest.raises(PostgresError, match="is gone"):
            server.start()

    def test_a_lost_password_file_is_named(self, server: EmbeddedPostgres, home: Path) -> None:
        server.start()
        password = (home / "postgres.password").read_text()
        (home / "postgres.password").write_text("another\n")
        with pytest.raises(PostgresError, match=r"postgres\.password"):
            server.start()
        (home / "postgres.password").unlink()
        with pytest.raises(PostgresError, match=r"postgres\.password"):
            server.start()
        (home / "postgres.password").write_text(password)

    def test_a_home_that_cannot_be_made_is_an_error(self, home: Path) -> None:
        (home / "file").write_text("")
        with pytest.raises(PostgresError, match="check the free space"):
            EmbeddedPostgres(home / "file" / "home").start()

    def test_a_url_before_the_first_start_is_an_error(self, home: Path) -> None:
        with pytest.raises(PostgresError, match="start the server first"):
            _ = EmbeddedPostgres(home).url
