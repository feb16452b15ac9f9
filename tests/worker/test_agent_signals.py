"""A worker as a process, and what its signals do."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.http_server import LOST, TOKEN, Answer
from tests.worker.conftest import UNAVAILABLE, ProtocolServer, make_lease, wait_for

REPOSITORY = Path(__file__).resolve().parents[2]

# It trains until told to stop, in `stubborn` mode beyond that.
PROGRAM = """
import logging, stamina.instrumentation, sys, time
from contract.tasks import WorkerRegistration
from worker.agent import Agent
from worker.client import ServerClient

def execute(lease, control):
    while True:
        time.sleep(0.005)
        if sys.argv[3] != "stubborn":
            control.check()

logging.basicConfig(level=logging.INFO)
stamina.instrumentation.set_on_retry_hooks([])
client = ServerClient(sys.argv[1], sys.argv[2], patience=60)
Agent(client, lambda: WorkerRegistration(name="gpu", device="cpu"), execute, wait_seconds=20).run()
"""


class Worker:
    """A worker in a process of its own."""

    def __init__(self, server: ProtocolServer, mode: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, server.url, TOKEN, mode],
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Its exit code and what it said, once it has ended by itself."""
        try:
            said = self._process.communicate(timeout=60)[1]
        finally:
            self._process.kill()
        return self._process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_worker_at_once(server: ProtocolServer, number: int) -> None:
    released = threading.Event()

    def long_poll() -> None:
        released.wait(20)

    server.hooks["lease"] = long_poll
    worker = Worker(server)
    wait_for(lambda: "lease" in server.happened)

    worker.signal(number)
    code, _ = worker.end()
    released.set()

    assert code == 0
    assert server.happened == ["register", "lease", "depart"]


@pytest.mark.parametrize("trouble", [LOST, UNAVAILABLE], ids=["lost", "unavailable"])
def test_a_lease_granted_as_the_worker_leaves_is_handed_back_by_a_goodbye_that_arrives(
    server: ProtocolServer, trouble: Answer
) -> None:
    released = threading.Event()

    def granted_too_late() -> None:
        released.wait(20)

    server.leases = [make_lease()]
    server.hooks["lease"] = granted_too_late
    server.next("depart", trouble)
    worker = Worker(server)
    wait_for(lambda: "lease" in server.happened)

    worker.signal(signal.SIGTERM)
    code, _ = worker.end()
    released.set()

    assert code == 0
    assert server.happened == ["register", "lease", "depart", "depart"]


def test_a_signal_ends_a_worker_that_looks_for_its_server(server: ProtocolServer) -> None:
    server.always("register", UNAVAILABLE)
    worker = Worker(server)
    wait_for(lambda: "register" in server.happened)

    worker.signal(signal.SIGTERM)

    assert worker.end()[0] == 0
    assert server.happened[-1] == "depart"


def test_a_signal_hands_the_task_back(server: ProtocolServer) -> None:
    server.leases = [make_lease(), make_lease()]
    worker = Worker(server)
    wait_for(lambda: len(server.to("beat")) > 0)

    worker.signal(signal.SIGTERM)
    code, said = worker.end()

    assert code == 0
    assert server.happened == ["register", "lease", "release", "depart"]
    assert "draining" in said
    assert "Traceback" not in said
    assert TOKEN not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process(server: ProtocolServer, number: int) -> None:
    server.leases = [make_lease()]
    worker = Worker(server, "stubborn")
    wait_for(lambda: len(server.to("beat")) > 0)

    worker.signal(signal.SIGTERM)
    beats = len(server.to("beat"))
    wait_for(lambda: len(server.to("beat")) > beats + 1)
    worker.signal(number)
    code, _ = worker.end()

    assert code == 128 + number
    assert server.happened == ["register", "lease"]
