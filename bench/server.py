"""A server in a process of its own, as a measurement needs it: with its process number, and away at the end."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from client.connection import read_token
from contract.tasks import HeldDataset
from service.domain.datasets import known
from service.postgres import EmbeddedPostgres

START_SECONDS = 120.0


@dataclass(frozen=True)
class Server:
    """A running server with its embedded PostgreSQL."""

    home: Path
    url: str
    process: subprocess.Popen[bytes]

    @property
    def database_url(self) -> str:
        return EmbeddedPostgres(self.home).url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, scope: str = "admin") -> httpx.Client:
        """Calls with the token of a scope, admin or worker."""
        token = read_token(self.home / f"{scope}-token")
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False)

    def resident(self) -> int:
        """Bytes that the server's process holds in memory, PostgreSQL apart."""
        return int(psutil.Process(self.process.pid).memory_info().rss)


@contextlib.contextmanager
def serving(**settings: str) -> Iterator[Server]:
    """A server in a home of its own; ``settings`` are its environment variables."""
    home = Path(tempfile.mkdtemp(prefix="st-", dir="/tmp"))
    home.chmod(0o711)
    environment = os.environ | {"STAGETUNE_HOME": str(home), "STAGETUNE_PORT": "0"} | settings
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "service"], env=environment, stdout=log, stderr=log)
    try:
        yield Server(home, _address(home, process), process)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        EmbeddedPostgres(home).stop()
        shutil.rmtree(home, ignore_errors=True)


def digits() -> HeldDataset:
    """What a worker says that holds the digits; nothing here looks at them."""
    entry = known("digits")
    assert entry is not None
    assert entry.digest is not None
    return HeldDataset(
        name="digits", digest=entry.digest, shape=entry.shape, classes=entry.classes, train=entry.train, test=entry.test
    )


def submission(name: str, trials: int, sampler: str) -> dict[str, object]:
    """One search of so many trials."""
    return {
        "name": name,
        "dataset": {"name": "digits"},
        "architectures": {"A": ["Conv-1-1"]},
        "phases": [{"epochs": 1, "trials": trials}],
        "search": {"sampler": sampler},
        "reuse": False,
    }


def _address(home: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_SECONDS
    announcement = home / "connection.json"
    while not announcement.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server did not start: {(home / 'server.log').read_text()[-1000:]}")
        time.sleep(0.05)
    return str(json.loads(announcement.read_text())["url"])
