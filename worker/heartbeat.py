"""The thread that keeps a lease alive while the main thread trains."""

import logging
import random
import threading
from types import TracebackType

from contract.tasks import Heartbeat, Lease
from worker.client import LeaseLost, ProtocolError, ServerClient, Unreachable
from worker.control import Control

log = logging.getLogger(__name__)


class HeartbeatThread:
    """Beats every ``seconds`` +- 10 %, and when the control wakes it, from entering to leaving its ``with`` block."""

    def __init__(self, client: ServerClient, lease: Lease, control: Control, seconds: float) -> None:
        self._client = client
        self._lease = lease
        self._control = control
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{lease.task}", daemon=True)

    def __enter__(self) -> "HeartbeatThread":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._control.wake()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            # Jitter keeps a fleet that started together from beating together.
            self._control.wait(self._seconds * random.uniform(0.9, 1.1))  # noqa: S311 - not a secret
            if not self._ended.is_set():
                self._beat()

    def _beat(self) -> None:
        reports = self._control.take_reports()
        try:
            answer = self._client.heartbeat(self._lease, Heartbeat(reports=reports, fraction=self._control.fraction))
        except LeaseLost as lost:
            log.warning("%s: lease lost, stopping: %s", self._lease.label, lost)
            self._lose()
        except Unreachable as outage:
            # Training goes on: writes are fenced, so the worst that an outage costs is this work.
            log.warning("%s: heartbeat did not arrive: %s", self._lease.label, outage)
            self._control.put_back(reports)
        except ProtocolError as refusal:
            log.error("%s: heartbeat refused: %s", self._lease.label, refusal)
            if refusal.code == "not-found":
                # The server no longer knows the task, after a restored backup for instance.
                self._lose()
        except Exception:
            # Whatever it is, without further beats the lease would run out while the training goes on.
            log.exception("%s: heartbeat failed, the next one will be tried", self._lease.label)
            self._control.put_back(reports)
        else:
            self._control.command(answer.command)

    def _lose(self) -> None:
        self._control.lose()
        self._ended.set()
