"""A stop that is asked for comes soon, whoever is listening, and streams hold no connection of the database."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import psycopg2
import pytest
import yaml

from client.local import SERVER_GRACE_SECONDS
from service.postgres import EmbeddedPostgres
from tests.invariants import violations
from tests.service.api.helpers import hold_task, submission
from tests.survival.conftest import Serve, come_to_rest, rows_of
from tests.survival.servers import Background, Drone, until

pytestmark = pytest.mark.chaos

STREAMS = 20


def test_streams_and_waiting_claims_end_with_the_server(serve: Serve, database_url: str) -> None:
    server = serve(database_url, STAGETUNE_THREADS="4").start()
    drone = Drone(server)
    drone.register()
    opened: list[int] = []
    with server.client() as admin:
        made = admin.post("/v1/experiments", json=submission(reuse=False)).json()["id"]
        admin.post(f"/v1/experiments/{made}/pause")

        def listen() -> None:
            with server.client() as client, client.stream("GET", f"/v1/experiments/{made}/events") as answer:
                for _ in answer.iter_lines():
                    if not opened or opened[-1] != id(answer):
                        opened.append(id(answer))

        def wait() -> None:
            ask = {"worker": drone.id, "request_id": made, "wait_seconds": 30}
            with server.client("worker") as client:
                assert client.post("/v1/worker/leases", json=ask).status_code == 204

        listeners = [Background(listen) for _ in range(STREAMS)]
        for thread in (*listeners, waiting := Background(wait)):
            thread.start()
        until(lambda: len(set(opened)) == STREAMS, "all streams")
        connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        # More streams than connections and threads, and others are still served.
        assert rows_of(database_url, connections)[0][0] < STREAMS
        for _ in range(10):
            assert admin.get(f"/v1/experiments/{made}").status_code == 200
    # Its exit status is that of a clean end: connections that had to be cut would have taken the full grace.
    assert server.stop() == 0
    for thread in (*listeners, waiting):
        thread.result()
    assert "Cancel" not in server.said(), "nothing had to be cancelled"
    drone.close()


REPOSITORY = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
# After that the server would be killed: what is promised to who stops one, and no measure of speed.
GRACE_SECONDS = float(COMPOSE["services"]["server"]["stop_grace_period"].removesuffix("s"))


class Program:
    """``python -m service`` to its very end, the interpreter's own included."""

    def __init__(self, home: Path, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STAGETUNE_")}
        settings = {"STAGETUNE_HOME": str(home), "STAGETUNE_PORT": "0", "STAGETUNE_DASHBOARD": "0"}
        self.home, self.log = home, home / "program.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service"],
                cwd=REPOSITORY, env=kept | settings | environment, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[-1]

    def client(self, role: str = "admin") -> httpx.Client:
        token = (self.home / f"{role}-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def stop(self, seconds: float) -> int:
        """Ask it to stop; its exit status. Raises if it takes longer."""
        self._process.terminate()
        return self._process.wait(seconds)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def run() -> Iterator[Callable[..., Program]]:
    """Starts servers in a short folder; none survives the test, and no embedded PostgreSQL."""
    home = Path(tempfile.mkdtemp(prefix="stagetune-tests-", dir="/tmp"))
    home.chmod(0o711)
    with contextlib.ExitStack() as stack:
        stack.callback(EmbeddedPostgres(home).stop)

        def start(**environment: str) -> Program:
            program = Program(home, **environment)
            stack.callback(program.end)
            return program

        yield start


# Nobody submits, and the background does nothing at all.
LOCKED = """
    LOCK TABLE stagetune.experiment IN EXCLUSIVE MODE;
    LOCK TABLE stagetune.task, stagetune.server_heartbeat IN ACCESS EXCLUSIVE MODE
"""
GOES_ON = """
    CREATE FUNCTION stagetune.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); END $$;
    CREATE TRIGGER slow BEFORE INSERT ON stagetune.experiment EXECUTE FUNCTION stagetune.slow();
    COMMIT
"""
WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'INSERT%experiment%' AND {}"


@pytest.mark.parametrize(
    ("trouble", "seen"),
    [
        (LOCKED, WAITING.format("wait_event_type = 'Lock'")),
        (GOES_ON, WAITING.format("wait_event = 'PgSleep'")),
    ],
    ids=["a locked table", "a statement that goes on"],
)
def test_a_stop_does_not_wait_for_statements(
    run: Callable[..., Program], database_url: str, trouble: str, seen: str
) -> None:
    count = "SELECT count(*) FROM experiment"
    server = run(STAGETUNE_DATABASE_URL=database_url)
    with server.client() as admin, server.client("worker") as worker:
        hold_task(admin, worker)
    before = rows_of(database_url, count)
    with contextlib.closing(psycopg2.connect(database_url.replace("+psycopg2", "", 1))) as beside:
        beside.cursor().execute(trouble)

        def submit() -> None:
            with server.client() as admin, contextlib.suppress(httpx.TransportError):
                assert admin.post("/v1/experiments", json=submission(reuse=False)).status_code == 503

        submitting = [Background(submit) for _ in range(3)]
        for thread in submitting:
            thread.start()
        until(lambda: bool(rows_of(database_url, seen)), "statements that wait")
        assert server.stop(GRACE_SECONDS) == 0, server.log.read_text()
        for thread in submitting:
            thread.result()
        beside.rollback()
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    rows_of(database_url, f"SELECT pg_terminate_backend(pid, 10000) {others}")
    rows_of(database_url, "DROP FUNCTION IF EXISTS slow CASCADE")
    assert rows_of(database_url, count) == before
    come_to_rest(database_url)
    assert violations(database_url, server.home) == []


@pytest.mark.parametrize("recovery", ["as it is", "for hours"])
def test_a_stop_does_not_wait_for_a_restart_of_the_embedded_postgres(
    run: Callable[..., Program], recovery: str
) -> None:
    server = run()
    postgres = EmbeddedPostgres(server.home)
    before = postgres.pid
    assert before is not None
    if recovery == "for hours":
        # It asks for a piece of its log that takes its time.
        with (postgres.data / "postgresql.auto.conf").open("a") as file:
            file.write("restore_command = 'sleep 600'\n")
        (postgres.data / "recovery.signal").touch()
        status = postgres.data.stat()
        os.chown(postgres.data / "recovery.signal", status.st_uid, status.st_gid)
    os.kill(before, signal.SIGKILL)
    until(lambda: "starting it again" in server.log.read_text(), "the restart")
    if recovery == "for hours":
        until(lambda: sleeps(postgres.pid), "the recovery")

    assert server.stop(SERVER_GRACE_SECONDS) == 0, server.log.read_text()
    assert not postgres.running()


def sleeps(pid: int | None) -> bool:
    """Whether a postmaster is in the middle of the recovery above."""
    with contextlib.suppress(psutil.Error):
        return any("sleep" in child.name() for child in psutil.Process(pid).children(recursive=True))
    return False
