"""The worker's loop: lease, train, report, until told to stop."""

import logging
import os
import random
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol
from uuid import UUID, uuid4

from contract.tasks import (
    EmbeddingOutcome,
    EvaluationOutcome,
    Lease,
    LeaseRequest,
    Outcome,
    RangeOutcome,
    RegisteredWorker,
    TaskFailure,
    TaskResult,
    TrainingOutcome,
    WorkerReason,
    WorkerRegistration,
)
from worker.client import LeaseLost, ProtocolError, ServerClient, Unreachable
from worker.control import Control, MachineFailed, Stopped, TaskFailed
from worker.heartbeat import HeartbeatThread

log = logging.getLogger(__name__)

_LOG_LINES = 200
# A stopping worker has seconds; what it cannot hand back comes back by itself when the lease runs out.
_GOODBYE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Finished:
    """What a task brought: its outcome without the checkpoint's name, and the checkpoint's bytes if it has one.

    ``accepted`` is called once the server has it all: what was kept in case of another attempt may go.
    """

    outcome: Outcome
    checkpoint: bytes | None = None
    accepted: Callable[[], None] = lambda: None


class Executor(Protocol):
    """Does the work of a lease.

    Raises Stopped when told to stop, TaskFailed when it cannot be done, MachineFailed when somebody has to see to this
    machine.
    """

    def __call__(self, lease: Lease, control: Control, /) -> Finished: ...


class _Interrupted(BaseException):
    """A signal arrived while the worker was idle. No Exception: logging, for one, swallows those."""


class RecentLines(logging.Handler):
    """Keeps the last log lines of the task at hand, which accompany a failure report."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=_LOG_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))

    def forget(self) -> None:
        self._lines.clear()

    def text(self) -> str:
        # The protocol's limit on a log, counted from the end, which is where the cause stands.
        return _sendable("\n".join(self._lines))[-64_000:]


class Agent:
    """One worker with one slot. ``run`` returns when drained; a second signal ends the process at once.

    ``describe`` says what the worker is now; it is asked before every claim, so that a data set added while the worker
    runs is announced before the next task. ``pause_seconds``, more or less, pass between a task that was preempted here
    and the next claim.
    """

    def __init__(
        self,
        client: ServerClient,
        describe: Callable[[], WorkerRegistration],
        execute: Executor,
        *,
        exit_when_idle: bool = False,
        wait_seconds: float = 20.0,
        pause_seconds: float = 15.0,
    ) -> None:
        self._client = client
        self._beats = client.twin()
        self._describe = describe
        self._registration = describe()
        self._execute = execute
        self._exit_when_idle = exit_when_idle
        self._wait_seconds = wait_seconds
        self._pause_seconds = pause_seconds
        self._id: UUID = uuid4()
        self._lines = RecentLines()
        self._control: Control | None = None
        self._draining = False
        self._interruptible = False

    def run(self) -> None:
        """Work until drained. Raises Unreachable, ProtocolError or MachineFailed when there is no going on."""
        logging.getLogger().addHandler(self._lines)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            with self._nothing_at_hand():
                timing = self._client.register(self._id, self._registration)
            ready = self._registration
            log.info("worker %s on %s is ready; data sets here: %s", ready.name, ready.device, _names(ready))
            self._loop(timing)
        except _Interrupted:
            pass
        finally:
            self._leave()

    def _loop(self, timing: RegisteredWorker) -> None:
        while not self._draining:
            request = LeaseRequest(worker=self._id, request_id=uuid4(), wait_seconds=self._wait_seconds)
            with self._nothing_at_hand():
                try:
                    self._announce_changes()
                    lease = self._client.lease(request)
                except ProtocolError as refusal:
                    self._mend(refusal)
                    continue
            if lease is not None:
                self._work(lease, timing.heartbeat_seconds)
            elif self._exit_when_idle:
                return

    def _announce_changes(self) -> None:
        registration = self._describe()
        if registration != self._registration:
            self._client.register(self._id, registration)
            self._registration = registration
            log.info("data sets here are now: %s", _names(registration))

    def _mend(self, refusal: ProtocolError) -> None:
        """What makes the next request succeed; raises the refusal if nothing does."""
        if refusal.code == "not-found":
            # The server forgot this worker, after a restored backup for instance.
            self._client.register(self._id, self._registration)
        elif refusal.code == "draining":
            log.info("draining: the server gives this worker no more tasks")
            self._draining = True
        elif refusal.code != "conflict":
            # A conflict needs nothing: the lease of this request ended while its answer was lost.
            raise refusal

    @contextmanager
    def _nothing_at_hand(self) -> Iterator[None]:
        """A signal in here ends the wait; a lease granted in that moment is handed back by the goodbye."""
        self._interruptible = True
        try:
            if self._draining:
                raise _Interrupted
            yield
        finally:
            self._interruptible = False

    def _work(self, lease: Lease, heartbeat_seconds: float) -> None:
        """Do one task and tell the server how it ended, whatever happens."""
        control = self._control = Control(prompt=lease.work.pruned)
        if self._draining:
            control.command("drain")
        started = time.monotonic()
        self._lines.forget()
        log.info("%s (attempt %d)", lease.label, lease.attempt)
        try:
            with HeartbeatThread(self._beats, lease, control, heartbeat_seconds):
                finished = self._execute(lease, control)
                self._hand_in(lease, finished)
            log.info("%s: %s in %.1f s", lease.label, _summary(finished.outcome), time.monotonic() - started)
        except LeaseLost as lost:
            log.warning("%s: the result came too late: %s", lease.label, lost)
        except Stopped as stop:
            self._stopped(lease, control, stop)
        except TaskFailed as failure:
            self._fail(lease, failure.reason, str(failure), started)
            if failure.reason == "preempted":
                self._pause()
        except MachineFailed as trouble:
            # Another worker may do better, and this one would fail at the next task as well.
            self._fail(lease, "preempted", str(trouble), started)
            raise
        except Unreachable:
            raise
        except Exception as error:
            log.exception("%s crashed", lease.label)
            self._fail(lease, "crashed", f"{type(error).__name__}: {error}", started)
        finally:
            self._control = None

    def _pause(self) -> None:
        """Let the cause pass: a preemption costs no strike, so that nothing else would end the same task's next try."""
        # Not all at once: what one worker cannot get, others cannot either.
        seconds = self._pause_seconds * random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
        with self._nothing_at_hand():
            log.info("the next task is asked for in %.0f s", seconds)
            time.sleep(seconds)

    def _hand_in(self, lease: Lease, finished: Finished) -> None:
        outcome = finished.outcome
        if finished.checkpoint is not None:
            outcome = outcome.model_copy(update={"checkpoint": self._client.upload(finished.checkpoint, lease)})
        self._client.result(lease, TaskResult(result=outcome))
        finished.accepted()

    def _stopped(self, lease: Lease, control: Control, stop: Stopped) -> None:
        log.info("%s: stopped (%s)", lease.label, "lease lost" if control.lost else stop.command)
        if control.lost:
            return
        if stop.command == "cancel":
            self._fail(lease, "cancelled", "cancelled on command", time.monotonic())
            return
        self._draining |= stop.command == "drain"
        if not self._draining:
            self._tell(lambda: self._client.release(lease))
            return
        try:
            self._tell(lambda: self._client.release(lease, patience=_GOODBYE_SECONDS))
        except Unreachable as outage:
            log.warning("%s: not handed back: %s", lease.label, outage)

    def _fail(self, lease: Lease, reason: WorkerReason, message: str, started: float) -> None:
        failure = TaskFailure(
            reason=reason,
            message=_sendable(message)[:2_000],
            log=self._lines.text(),
            seconds=max(0.0, time.monotonic() - started),
        )
        log.warning("%s: %s: %s", lease.label, reason, failure.message.splitlines()[0] if failure.message else "")
        self._tell(lambda: self._client.failure(lease, failure))

    def _tell(self, call: Callable[[], object]) -> None:
        """Tell the server something that it may no longer want to know."""
        try:
            call()
        except ProtocolError as refusal:
            if not isinstance(refusal, LeaseLost) and refusal.code != "not-found":
                raise
            log.info("no longer wanted: %s", refusal)

    def _leave(self) -> None:
        try:
            self._client.depart(self._id)
        except (Unreachable, ProtocolError) as error:
            log.info("left without a goodbye: %s", error)
        self._client.close()
        self._beats.close()
        logging.getLogger().removeHandler(self._lines)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._draining:
            log.warning("stopping now")
            os._exit(128 + number)
        self._draining = True
        if self._control is not None:
            self._control.command("drain")
        log.info("draining: the task at hand goes back to the server; once more stops at once")
        if self._interruptible:
            raise _Interrupted


def _sendable(text: str) -> str:
    """Without what neither JSON nor PostgreSQL can carry: file names may be any bytes."""
    return text.encode(errors="replace").decode().replace("\x00", "")


def _summary(outcome: Outcome) -> str:
    match outcome:
        case TrainingOutcome():
            return f"{outcome.outcome}, validation accuracy {outcome.validation_accuracy:.3f}"
        case EvaluationOutcome():
            return f"test accuracy {outcome.test_accuracy:.3f}"
        case RangeOutcome():
            return f"{len(outcome.losses)} learning rates tried"
        case EmbeddingOutcome():
            return f"{outcome.points} points of {len(outcome.stages)} stages"


def _names(registration: WorkerRegistration) -> str:
    return ", ".join(dataset.name for dataset in registration.datasets) or "none"
