"""The real agent in a process of its own, with work that needs no torch: it lasts until the test says so.

``python -m tests.survival.workers SERVER TOKEN NAME FOLDER LOG`` is one whose process is not forked.
"""

import logging
import os
import signal
import sys
import time
from pathlib import Path

import stamina.instrumentation

from contract.tasks import EvaluationOutcome, HeldDataset, Lease, Memory, TrainingOutcome, WorkerRegistration
from tests.service.api.helpers import DOTS, checkpoint
from tests.survival.servers import _FORKS, PATIENCE_SECONDS, Server
from worker.agent import Agent, Finished
from worker.client import ServerClient, Unreachable
from worker.control import Control

EXIT_TRY_LATER = 75


class Gate:
    """What the test tells the workers: files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def allow(self) -> None:
        """Let all work end."""
        (self._folder / "go").touch()

    def poison(self, label: str) -> None:
        """Let work with such a label kill its process."""
        (self._folder / "poison").write_text(label)

    @property
    def open(self) -> bool:
        return (self._folder / "go").exists()

    def is_poison(self, label: str) -> bool:
        poison = self._folder / "poison"
        return poison.exists() and poison.read_text() in label


def _labour(url: str, token: str, name: str, gate: Gate, log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stamina.instrumentation.set_on_retry_hooks([])

    def execute(lease: Lease, control: Control) -> Finished:
        if gate.is_poison(lease.label):
            os.kill(os.getpid(), signal.SIGSEGV)
        while not gate.open:
            control.check()
            time.sleep(0.02)
        if lease.kind == "evaluate":
            return Finished(EvaluationOutcome(outcome="evaluated", test_accuracy=0.5, images=360, total_seconds=0.1))
        memory = Memory(peak_bytes=10, method="none", analytic_bytes=9, resident_bytes=8)
        outcome = TrainingOutcome(
            outcome="complete", validation_accuracy=0.5, training_accuracy=0.5, epochs=1.0, training_seconds=0.1,
            feature_seconds=0.0, evaluation_seconds=0.0, total_seconds=0.1, memory=memory,
        )  # fmt: skip
        return Finished(outcome, checkpoint(lease.attempt)[1])

    registration = WorkerRegistration(name=name, device="cpu", datasets=[HeldDataset.model_validate(DOTS)])
    agent = Agent(ServerClient(url, token, patience=PATIENCE_SECONDS), lambda: registration, execute, wait_seconds=1)
    try:
        agent.run()
    except Unreachable:
        os._exit(EXIT_TRY_LATER)
    os._exit(0)


class Labourer:
    """A worker's process."""

    def __init__(self, server: Server, name: str, gate: Gate) -> None:
        self.name = name
        self.log = server.home / f"worker-{name}.log"
        token = (server.home / "worker-token").read_text().strip()
        self._process = _FORKS.Process(target=_labour, args=(server.url, token, name, gate, str(self.log)), daemon=True)
        self._process.start()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self) -> int:
        self._process.join(PATIENCE_SECONDS)
        assert self._process.exitcode is not None, self.said()
        return self._process.exitcode

    def end(self) -> None:
        if self.alive:
            self._process.kill()
            self._process.join()

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


if __name__ == "__main__":
    _server, _token, _name, _folder, _log = sys.argv[1:]
    _labour(_server, _token, _name, Gate(Path(_folder)), _log)
