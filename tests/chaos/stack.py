"""What the chaos cases kill: servers, their PostgreSQL, a fleet of agents, and the network between them."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg2

from client.errors import StagetuneError
from service.postgres import EmbeddedPostgres
from service.storage.migrations import upgrade
from tests.chaos.agent import GOES_ON
from tests.chaos.proxy import HEALTHY, FaultProxy
from tests.e2e.conftest import Stack, _free_port
from tests.invariants import all_shown, rows

WORKERS = 8
SETTINGS = {
    "STAGETUNE_THREADS": "8",
    "STAGETUNE_DASHBOARD": "0",
}
LOOK_SECONDS = 0.1
SETTLE_SECONDS = 240.0


@dataclass
class Watch:
    """Asks the server ten times a second how it is, and remembers every answer; ``None`` is no answer."""

    url: str
    token: str
    answers: list[tuple[float, int | None]] = field(default_factory=list)
    without_retry_after: int = 0

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def statuses(self) -> Counter[int]:
        return Counter(status for _, status in self.answers if status is not None)

    def answered_after(self, moment: float) -> float | None:
        """When the first request that was sent after a moment (of the monotonic clock) succeeded."""
        return next((at for at, status in self.answers if at >= moment and status == httpx.codes.OK), None)

    def seconds_after(self, moments: Iterable[float]) -> list[float]:
        """From each moment to the first request after it that succeeded. AssertionError where none has."""
        found = [(moment, self.answered_after(moment)) for moment in moments]
        assert all(answered is not None for _, answered in found), "no request succeeded after an outage"
        return [answered - moment for moment, answered in found if answered is not None]

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False) as client:
            while not self._ended.wait(LOOK_SECONDS):
                sent, status = time.monotonic(), None
                with contextlib.suppress(httpx.TransportError):
                    answer = client.get("/v1/experiments?limit=1")
                    status = answer.status_code
                    if status == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" not in answer.headers:
                        self.without_retry_after += 1
                self.answers.append((sent, status))


class ChaosStack(Stack):
    """A stack whose parts are killed on purpose. Workers reach each server through a proxy of its own.

    ``servers`` share database and home. With ``through_proxy`` they reach PostgreSQL through ``database_proxy``.
    ``strikes`` are those that end a task, the product's own by default.
    """

    def __init__(
        self,
        home: Path,
        seed: int,
        *,
        lease_seconds: float,
        servers: int = 1,
        through_proxy: bool = False,
        strikes: int | None = None,
    ) -> None:
        self.chance = random.Random(seed)
        self.database = EmbeddedPostgres(home, fsync=False)
        self.database_url = self.database.start()
        upgrade(self.database_url)
        self.database_proxy: FaultProxy | None = None
        url = self.database_url
        if through_proxy:
            host, port = (url.partition(f"{name}=")[2].partition("&")[0] for name in ("host", "port"))
            self.database_proxy = FaultProxy(Path(host) / f".s.PGSQL.{port}", seed)
            url = url.replace(f"host={host}", "host=127.0.0.1").replace(
                f"port={port}", f"port={self.database_proxy.port}"
            )
            url += "&sslmode=disable&gssencmode=disable"
        patience = {} if strikes is None else {"STAGETUNE_MAX_STRIKES": str(strikes)}
        super().__init__(home, url, **SETTINGS, **patience, STAGETUNE_LEASE_SECONDS=f"{lease_seconds:g}")
        self.ports = [self.port]
        for _ in range(servers - 1):
            self.ports.append(_free_port())
            self._start("service", STAGETUNE_PORT=str(self.ports[-1]))
        self.proxies = [FaultProxy(("127.0.0.1", port), seed + number) for number, port in enumerate(self.ports)]
        self.watch = Watch(self.url, (home / "admin-token").read_text().strip())
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.killed: dict[str, datetime] = {}
        """When each worker was killed, by its name."""
        self.server_kills: list[float] = []
        """When the server was killed (monotonic clock)."""
        self.returns: list[float] = []
        """When PostgreSQL was back after each of its outages (monotonic clock)."""
        self.submitted = 0

    def hire(self) -> None:
        """Start one more agent."""
        number = len(self.agents) + len(self.killed)
        name = f"agent-{number}"
        server = self.proxies[number % len(self.proxies)].url
        token = str(self.home / "worker-token")
        self.agents[name] = self._start("tests.chaos.agent", server, token, name, str(self.chance.getrandbits(32)))

    def kill_worker(self) -> None:
        """kill -9 of one agent's process group; another one takes its place."""
        name = self.chance.choice(sorted(self.agents))
        process = self.agents.pop(name)
        self.killed[name] = datetime.now(UTC)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._processes.remove(process)
        self.hire()

    def kill_server(self) -> None:
        """kill -9 of the first server, which is started again at once."""
        self.server_kills.append(time.monotonic())
        self.server.kill()
        self.server.wait()
        self._processes.remove(self.server)
        self.start_server()

    def stop_database(self, seconds: float) -> None:
        """PostgreSQL ends at once, as after `pg_ctl stop -m immediate`, and is away for some seconds."""
        postmaster = self.database.pid
        assert postmaster is not None
        os.kill(postmaster, signal.SIGQUIT)
        self.until(lambda: not self.database.running(), "the database to end")
        time.sleep(seconds)
        self.database.ensure()
        self.returns.append(time.monotonic())

    def keep_busy(self, trials: int) -> None:
        """Submit an experiment of four searches with so many trials each, unless one runs."""
        try:
            running = self.count("stagetune.experiment WHERE state = 'running'")
            if not running:
                with self.client() as client:
                    client.submit(_submission(trials), reuse=False)
                self.submitted += 1
        except (psycopg2.Error, StagetuneError):
            return  # away, as it should be: the next round asks again

    def settle(self) -> None:
        """Everything is well again: wait until the work is done and shown in Optuna's tables."""
        for proxy in [*self.proxies, *([self.database_proxy] if self.database_proxy else [])]:
            proxy.faults = HEALTHY
        self.until(
            lambda: not self.count("stagetune.experiment WHERE state = 'running'") and all_shown(self.database_url),
            "the work to be done and shown",
            SETTLE_SECONDS,
        )

    def count(self, what: str) -> int:
        """Rows of a table, or of a condition on it."""
        ((number,),) = rows(self.database_url, f"SELECT count(*) FROM {what}")
        assert isinstance(number, int)
        return number

    @property
    def resumed(self) -> int:
        """Attempts that went on from a snapshot, as the agents' logs tell."""
        return sum(log.read_text().count(GOES_ON) for log in self.home.glob("tests.chaos.agent-*.log"))

    def stop(self) -> None:
        """End everything."""
        self.watch.close()
        super().stop()
        for proxy in [*self.proxies, *([self.database_proxy] if self.database_proxy else [])]:
            proxy.close()
        self.database.stop()


@contextlib.contextmanager
def chaos_stack(seed: int, **parts: Any) -> Iterator[ChaosStack]:
    """A stack in a home whose path is short enough for a socket, and which the database's account can reach."""
    home = Path(tempfile.mkdtemp(prefix="stagetune-chaos-", dir="/tmp"))
    home.chmod(0o711)
    started = ChaosStack(home, seed, **parts)
    try:
        for _ in range(WORKERS):
            started.hire()
        yield started
    finally:
        started.stop()
        shutil.rmtree(home, ignore_errors=True)


def _submission(trials: int) -> dict[str, Any]:
    stages = ["Conv-3-4", "Conv-3-4", "Conv-3-4 Pool-2"]
    return {
        "name": "chaos",
        "dataset": {"name": "dots"},
        "architectures": {"A": stages},
        "variants": [{"architecture": "A", "learning": "partial"}, {"architecture": "A", "learning": "total"}],
        "phases": [{"epochs": 1, "trials": trials}],
        "search": {"sampler": "random"},
    }
