"""Real servers as processes, and workers that need no torch: what is killed here is the server."""

import multiprocessing
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import httpx

from service import __main__ as program
from tests.service.api.helpers import DOTS, checkpoint, evaluated, fence, trained

# Forked from a process that has imported the server once: a start costs what it does, and not its imports.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.survival.servers"])
PATIENCE_SECONDS = 100.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(reached: Callable[[], bool], what: str) -> None:
    """Wait for something to be the case; the limit is for tests that hang, no measure of speed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, f"waited for {what} in vain"
        time.sleep(0.02)


def _serve(environment: dict[str, str], log: str, files: int | None) -> None:
    if files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    for name in [name for name in os.environ if name.startswith("STAGETUNE_")]:
        del os.environ[name]
    os.environ.update(environment)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os._exit(program.main())


class Server:
    """A server on a port of its own, which it keeps over restarts; ``files`` is how many it may have open."""

    def __init__(self, home: Path, database_url: str, *, files: int | None = None, **settings: str) -> None:
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / f"server-{self.port}.log"
        self.database_url = database_url
        self.artifacts = Path(settings.get("STAGETUNE_ARTIFACTS", home / "artifacts"))
        self._settings = {
            "STAGETUNE_HOME": str(home),
            "STAGETUNE_PORT": str(self.port),
            "STAGETUNE_DATABASE_URL": database_url,
            "STAGETUNE_LEASE_SECONDS": "30",
            "STAGETUNE_HEARTBEAT_SECONDS": "1",
            "STAGETUNE_REAPER_SECONDS": "0.5",
            "STAGETUNE_PLANNER_SECONDS": "0.05",
            "STAGETUNE_THREADS": "6",
            "STAGETUNE_DASHBOARD": "0",
            # These tests look as often as they can.
            "STAGETUNE_REQUESTS_PER_MINUTE": "0",
            **settings,
        }
        self._files = files
        self._process: Any = None

    def launch(self, failpoint: str = "") -> None:
        """Start, without waiting until it answers."""
        testing = {"STAGETUNE_TESTING": "1", "STAGETUNE_FAILPOINT": failpoint} if failpoint else {}
        self._process = _FORKS.Process(
            target=_serve, args=(self._settings | testing, str(self.log), self._files), daemon=True
        )
        self._process.start()

    def start(self, failpoint: str = "") -> "Server":
        """Start, and wait until it answers or is dead already."""
        self.launch(failpoint)
        until(lambda: not self.alive or self.answers(), f"the server; its log:\n{self.said()}")
        return self

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return int(pid)

    def answers(self, path: str = "/readyz") -> bool:
        try:
            return httpx.get(f"{self.url}{path}", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """kill -9."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """Ask it to stop; its exit status."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        self._process.join(PATIENCE_SECONDS)
        assert self._process.exitcode is not None, f"it does not end:\n{self.said()}"
        return int(self._process.exitcode)

    def end(self) -> None:
        """For fixtures: gone, whatever it was."""
        if self.alive:
            self.kill()

    def said(self) -> str:
        return self.log.read_text()[-5000:] if self.log.exists() else ""

    def client(self, role: str = "admin") -> httpx.Client:
        token = (self.home / f"{role}-token").read_text().strip()
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=40, trust_env=False
        )


class Drone:
    """A worker that makes its results up and repeats every call, word for word, until a server has answered it."""

    def __init__(self, *servers: Server, slots: int = 2) -> None:
        self._clients = [server.client("worker") for server in servers]
        self.id = str(uuid4())
        self._body = {"name": "drone", "device": "cpu", "slots": slots, "datasets": [DOTS]}
        self.statuses: set[int] = set()
        self.done = 0

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = self._clients[0].request(method, path, **more)
            except httpx.TransportError:
                # The next server, if there is one; a single one may come back.
                self._clients.append(self._clients.pop(0))
            else:
                self.statuses.add(answer.status_code)
                if answer.status_code != 503:
                    return answer
                assert answer.headers["Retry-After"]
            assert time.monotonic() < deadline, f"no answer to {method} {path}"
            time.sleep(0.05)

    def register(self) -> None:
        assert self.call("PUT", f"/v1/worker/workers/{self.id}", json=self._body).status_code == 200

    def work(self) -> bool:
        """Do one task; False when there is none for now."""
        ask = {"worker": self.id, "request_id": str(uuid4()), "wait_seconds": 0.5}
        answer = self.call("POST", "/v1/worker/leases", json=ask)
        if answer.status_code == 204:
            return False
        assert answer.status_code == 200, answer.text
        task = answer.json()
        at = f"/v1/worker/tasks/{task['task']}/attempts/{task['attempt']}"
        assert self.call("POST", f"{at}/heartbeat", json={"fraction": 0.5}).status_code == 200
        if task["kind"] == "evaluate":
            result = evaluated()
        else:
            sha256, data = checkpoint(self.done)
            assert self.call("PUT", f"/v1/worker/artifacts/{sha256}", params=fence(task), content=data).is_success
            result = trained(sha256, 0.5 + self.done % 100 / 1000)
        answer = self.call("PUT", f"{at}/result", json=result)
        assert answer.status_code == 200, answer.text
        self.done += 1
        return True

    def work_until(self, ended: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ended():
            assert time.monotonic() < deadline, "the work does not end"
            self.work()

    def close(self) -> None:
        for client in self._clients:
            client.close()


class Background(Thread):
    """A thread whose failure is the test's."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except BaseException as failure:
            self._failure = failure

    def result(self) -> None:
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive()
        if self._failure is not None:
            raise self._failure
