"""A real server and real workers in processes of their own, on the digits, with leases short enough to lose."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from client import Client
from contract.experiments import Experiment
from service.postgres import EmbeddedPostgres
from tests.invariants import all_shown

REPOSITORY = Path(__file__).resolve().parents[2]

# Two networks that share a prefix, searched with few trials: seconds of training, yet every step of a real experiment.
SUBMISSION: dict[str, Any] = {
    "name": "small",
    "dataset": {"name": "digits", "train": 600, "validation": 200},
    "architectures": {
        "CNN 1": ["Conv-3-8 Pool-2"],
        "CNN 6": ["Conv-3-8 Pool-2", "Conv-3-8 Pool-2"],
    },
    "variants": [
        {"architecture": "CNN 1", "learning": "total"},
        {"architecture": "CNN 6", "learning": "partial"},
    ],
    "phases": [{"epochs": 2, "trials": 6}],
}


class Stack:
    """Processes of one test. Everything it started is ended with the test, by process id.

    ``settings`` are environment variables of all of them.
    """

    def __init__(self, home: Path, database_url: str | None, **settings: str) -> None:
        self.home = home
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("STAGETUNE_")}
        self._environment |= {
            "STAGETUNE_HOME": str(home),
            "STAGETUNE_PORT": str(self.port),
            "STAGETUNE_LEASE_SECONDS": "3",
            "STAGETUNE_HEARTBEAT_SECONDS": "0.5",
            "STAGETUNE_REAPER_SECONDS": "0.5",
            "STAGETUNE_PLANNER_SECONDS": "0.2",
            # These tests look as often as they can.
            "STAGETUNE_REQUESTS_PER_MINUTE": "0",
            "OMP_NUM_THREADS": "1",
            **settings,
        }
        self._database_url = database_url
        if database_url is not None:
            self._environment["STAGETUNE_DATABASE_URL"] = database_url
        self._processes: list[subprocess.Popen[bytes]] = []
        self._logs = itertools.count()
        self.server = self.start_server()

    def start_server(self) -> subprocess.Popen[bytes]:
        """Start the server on the same home and port, and wait until it is ready."""
        self.server = self._start("service")
        self.until(self._ready, "the server to be ready")
        return self.server

    def start_worker(self, *flags: str) -> subprocess.Popen[bytes]:
        """Start a worker on the CPU."""
        token = str(self.home / "worker-token")
        return self._start("worker", "--server", self.url, "--token-file", token, "--device", "cpu", *flags)

    def client(self) -> Client:
        """A client with the admin token."""
        return Client(self.url, (self.home / "admin-token").read_text().strip())

    def until(self, reached: Callable[[], bool], what: str, seconds: float = 90) -> None:
        """Wait for something to be the case; the limit is for tests that hang, no measure of speed."""
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, f"waited for {what} in vain; logs:\n{self.logs()}"
            time.sleep(0.05)

    def finish(self, experiment: Experiment) -> Experiment:
        """Wait until an experiment has ended and been drawn in Optuna's tables, through outages of the server."""

        def ended() -> bool:
            with self.client() as client:
                return client.experiment(experiment.id).state not in ("running", "paused")

        self.until(ended, "the experiment to end", 120)
        url = self._database_url or EmbeddedPostgres(self.home).url
        self.until(lambda: all_shown(url), "the studies to be shown")
        with self.client() as client:
            return client.experiment(experiment.id)

    def logs(self) -> str:
        """The last lines of every process."""
        return "\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in sorted(self.home.glob("*.log")))

    def stop(self) -> None:
        """Ask everything to end, workers first; then make it."""
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _start(self, package: str, *flags: str, **settings: str) -> subprocess.Popen[bytes]:
        log = self.home / f"{package}-{next(self._logs)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", package, *flags],
                cwd=REPOSITORY,
                env=self._environment | settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _ready(self) -> bool:
        assert self.server.poll() is None, f"the server ended:\n{self.logs()}"
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).is_success
        except httpx.TransportError:
            return False


@pytest.fixture
def stack(tmp_path: Path, database_url: str) -> Iterator[Stack]:
    """A server on a database of its own."""
    started = Stack(tmp_path, database_url)
    yield started
    started.stop()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
