"""The thread that brings snapshots to the server while the main thread trains on."""

import logging
import threading
from dataclasses import dataclass
from typing import Protocol

from contract.base import Digest
from contract.tasks import Lease, Snapshot
from worker.client import LeaseLost, ProtocolError, Unreachable

log = logging.getLogger(__name__)


class Uploads(Protocol):
    """Where snapshots go; used by this thread alone."""

    def upload(self, content: bytes, lease: Lease, patience: float | None = None) -> Digest: ...

    def snapshot(self, lease: Lease, snapshot: Snapshot) -> None: ...


@dataclass(frozen=True, slots=True)
class _Offered:
    lease: Lease
    state: bytes
    fraction: float


class SnapshotUploads:
    """Uploads what was offered last. One that fails, or is overtaken, is made good by the next."""

    def __init__(self, server: Uploads) -> None:
        self._server = server
        self._changed = threading.Condition()
        self._waiting: _Offered | None = None
        self._busy = False
        self._thread: threading.Thread | None = None

    def offer(self, lease: Lease, state: bytes, fraction: float) -> None:
        """Upload a state of the lease's training soon, instead of any that still waits. Returns at once."""
        with self._changed:
            self._waiting = _Offered(lease, state, fraction)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)
                self._thread.start()

    def forget(self) -> None:
        """The training has ended: what still waits is not needed."""
        with self._changed:
            self._waiting = None

    def finish(self, seconds: float) -> bool:
        """Wait until everything offered has been tried, at most so long; whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting is None and not self._busy, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None)
                offered, self._waiting, self._busy = self._waiting, None, True
            try:
                if offered is not None:
                    self._upload(offered)
            except Exception:
                # Whatever it is, it must not end all uploads to come.
                log.exception("a snapshot was not uploaded")
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _upload(self, offered: _Offered) -> None:
        lease = offered.lease
        try:
            digest = self._server.upload(offered.state, lease, patience=0.0)
            self._server.snapshot(lease, Snapshot(sha256=digest, fraction=offered.fraction))
        except LeaseLost as lost:
            # The heartbeat hears of it as well, and stops the training.
            log.info("%s: snapshot not wanted: %s", lease.label, lost)
        except (Unreachable, ProtocolError) as error:
            log.warning("%s: snapshot not uploaded, the next one will be tried: %s", lease.label, error)
