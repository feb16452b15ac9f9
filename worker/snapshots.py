"""Unfinished trainings, a file each, so that the next attempt on this home goes on where the last one stopped.

They are at the server as well (``snapshot_uploads``), for every other worker; here is what an outage kept from it.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from contract.base import Digest
from worker.files import write_whole

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 30.0
OLDEST_SECONDS = 7 * 24 * 3600.0


class Snapshots:
    """States of trainings by task. Two workers may share the folder: a task's state only ever moves on."""

    def __init__(self, directory: Path, interval: float = INTERVAL_SECONDS) -> None:
        self._directory = directory
        self.interval = interval
        directory.mkdir(parents=True, exist_ok=True)
        # Tasks that others finished, or that were cancelled, leave theirs behind.
        for file in directory.iterdir():
            # Another worker on this home may take a file away at any moment.
            with suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > OLDEST_SECONDS:
                    file.unlink()

    def get(self, task: UUID) -> bytes | None:
        """The last state of a task's training here."""
        try:
            return self._file(task).read_bytes()
        except OSError:
            return None

    def keep(self, task: UUID, state: bytes) -> None:
        """Replace the task's state. A full disk costs the snapshot, not the training."""
        try:
            write_whole(self._file(task), state)
        except OSError as error:
            log.warning("no snapshot of task %s: %s", task, error)

    def fetch(self, digest: Digest, download: Callable[[Digest, Path], None]) -> bytes:
        """A state that lies at the server. Raises what ``download`` raises, or OSError."""
        target = self._directory / f"{digest}.fetched"
        try:
            download(digest, target)
            return target.read_bytes()
        finally:
            target.unlink(missing_ok=True)

    def drop(self, task: UUID) -> None:
        """Forget a task that needs no next attempt; what cannot be removed goes when it is old."""
        with suppress(OSError):
            self._file(task).unlink(missing_ok=True)

    def _file(self, task: UUID) -> Path:
        return self._directory / f"{task}.safetensors"
