"""What the training thread and the heartbeat thread share about the task at hand."""

import threading

from contract.tasks import Command, Measurement, WorkerReason

_REPORTS = 1_000


class Stopped(Exception):
    """The training was told to stop by ``command``: pause, cancel or drain."""

    def __init__(self, command: Command) -> None:
        super().__init__(command)
        self.command = command


class TaskFailed(Exception):
    """The task cannot be done, for a reason that the protocol names."""

    def __init__(self, reason: WorkerReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MachineFailed(Exception):
    """This machine can do no task at the moment, or none of a kind that it announced; the message says why."""


class Control:
    """Measurements on their way out, commands on their way in. Thread-safe.

    If it is ``prompt``, a measurement does not wait for the next heartbeat: it is a reason for one.
    """

    def __init__(self, *, prompt: bool = False) -> None:
        self._lock = threading.Lock()
        self._prompt = prompt
        self._awake = threading.Event()
        self._pending: list[Measurement] = []
        self._command: Command = "continue"
        self.fraction: float | None = None
        self.lost = False

    def report(self, report: Measurement) -> None:
        """Queue a measurement for the next heartbeat."""
        with self._lock:
            self._pending.append(report)
        if self._prompt:
            self.wake()

    def wake(self) -> None:
        """End the wait of the heartbeat thread, or its next one."""
        self._awake.set()

    def wait(self, seconds: float) -> None:
        """Called by the heartbeat thread: return after so many seconds, or as soon as it is woken."""
        self._awake.wait(seconds)
        self._awake.clear()

    def take_reports(self) -> list[Measurement]:
        """The next measurements to send, not more than a heartbeat may carry."""
        with self._lock:
            taken, self._pending = self._pending[:_REPORTS], self._pending[_REPORTS:]
        return taken

    def put_back(self, reports: list[Measurement]) -> None:
        """Keep measurements whose heartbeat did not arrive, in order."""
        with self._lock:
            self._pending = reports + self._pending

    def command(self, command: Command) -> None:
        """Tell the training what to do; a stop is not taken back by a later ``continue``."""
        if command != "continue":
            self._command = command

    def lose(self) -> None:
        """The lease is gone: stop, and report nothing."""
        self.lost = True
        self._command = "cancel"

    def check(self) -> None:
        """Called by the training every few steps; raises Stopped once told to. A pruned training has a result."""
        if self._command not in ("continue", "prune"):
            raise Stopped(self._command)

    def advance(self, fraction: float) -> None:
        """Called between the parts of a task: so much of it is done. Raises Stopped once told to stop."""
        self.fraction = fraction
        self.check()

    @property
    def told(self) -> Command:
        """The command in force."""
        return self._command
