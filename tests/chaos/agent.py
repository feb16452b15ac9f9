"""``python -m tests.chaos.agent SERVER TOKEN_FILE NAME SEED``: the worker's own agent, training nothing.

Everything that speaks, waits, retries and is told to stop is the product's. Only the executor is ours: it sleeps, and
what it brings back depends on the task alone, so that a task done twice brings the same twice. Its trainings have
parts; between them it uploads a snapshot, and an attempt that is given one goes on from there.
"""

import hashlib
import json
import logging
import random
import struct
import sys
import tempfile
import time
from pathlib import Path

import stamina.instrumentation

from contract.tasks import (
    EvaluationOutcome,
    HeldDataset,
    Lease,
    Measurement,
    Memory,
    RangeOutcome,
    StageProbe,
    TaskWork,
    TrainingOutcome,
    WorkerRegistration,
)
from worker.agent import Agent, Finished
from worker.client import ProtocolError, ServerClient, Unreachable
from worker.control import Control, TaskFailed
from worker.snapshot_uploads import SnapshotUploads

DATASET = HeldDataset(name="dots", digest="d" * 64, shape=(1, 8, 8), classes=10, train=1437, test=360)
SECONDS = (0.1, 0.5)
WAIT_SECONDS = 2.0
# Longer than any outage of a case: a worker that gives up is a fault of its own kind.
PATIENCE_SECONDS = 300.0
_STEP_SECONDS = 0.02
_PARTS = 4
GOES_ON = "goes on from a snapshot"


def main() -> int:
    """Work until told to stop."""
    server, token_file, name, seed = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stamina.instrumentation.set_on_retry_hooks([])
    client = ServerClient(server, Path(token_file).read_text().strip(), patience=PATIENCE_SECONDS)
    registration = WorkerRegistration(name=name, device="none", datasets=[DATASET])
    with tempfile.TemporaryDirectory() as folder:
        sleeper = Sleeper(client, Path(folder), random.Random(seed))
        try:
            Agent(client, lambda: registration, sleeper, wait_seconds=WAIT_SECONDS).run()
        except (Unreachable, ProtocolError) as error:
            logging.getLogger("chaos").error("gave up: %s", error)
            return 1
    return 0


class Sleeper:
    """An executor that takes a while and computes nothing."""

    def __init__(self, client: ServerClient, folder: Path, chance: random.Random) -> None:
        self._client, self._folder, self._random = client, folder, chance
        self._uploads = SnapshotUploads(client.twin())

    def __call__(self, lease: Lease, control: Control) -> Finished:
        """Fetch the prefix as a real worker does, sleep part after part, report half-way, and answer."""
        for number, frozen in enumerate(lease.work.prefix):
            self._client.download(frozen.checkpoint, self._folder / f"{number}")
        seconds = self._random.uniform(*SECONDS)
        for part in range(self._reached(lease), _PARTS):
            if part == _PARTS // 2:
                control.report(Measurement(step=5, epoch=0.5, validation_accuracy=0.1))
            self._sleep(seconds / _PARTS, part, control)
            if lease.kind in ("trial", "fit") and part + 1 < _PARTS:
                self._uploads.offer(lease, snapshot_of(lease.work, part + 1), (part + 1) / _PARTS)
        self._uploads.forget()
        return outcome_of(lease, seconds)

    def _reached(self, lease: Lease) -> int:
        """The parts that an earlier attempt has done; its snapshot has to be what that attempt made of this work."""
        if lease.snapshot is None:
            return 0
        part = round(lease.snapshot.fraction * _PARTS)
        target = self._folder / "snapshot"
        self._client.download(lease.snapshot.sha256, target)
        if target.read_bytes() != snapshot_of(lease.work, part):
            raise TaskFailed("user-error", f"the snapshot of part {part} is another's")
        logging.getLogger("chaos").info("%s: %s, part %d", lease.label, GOES_ON, part)
        return part

    def _sleep(self, seconds: float, part: int, control: Control) -> None:
        began = time.monotonic()
        while (done := time.monotonic() - began) < seconds:
            control.advance((part + done / seconds) / _PARTS)
            time.sleep(_STEP_SECONDS)


def outcome_of(lease: Lease, seconds: float) -> Finished:
    """What a task of any kind brings."""
    match lease.kind:
        case "trial" | "fit":
            return Finished(trained(lease.work, seconds), checkpoint_of(lease.work))
        case "evaluate":
            stages = [StageProbe(head_accuracy=0.5, knn_accuracy=0.5) for _ in (*lease.work.prefix, lease.work.stage)]
            tested = EvaluationOutcome(
                outcome="evaluated", test_accuracy=0.5, images=360, total_seconds=seconds, stages=stages
            )
            return Finished(tested)
        case "range-test":
            losses: list[float | None] = [2.0 - number / 10 for number, _ in enumerate(lease.work.learning_rates)]
            return Finished(RangeOutcome(outcome="ranged", losses=losses, total_seconds=seconds))
        case _:
            raise TaskFailed("user-error", f"nothing here does a task of kind {lease.kind}")


def trained(work: TaskWork, seconds: float) -> TrainingOutcome:
    """A complete training whose accuracy depends on the work alone."""
    accuracy = accuracy_of(work)
    return TrainingOutcome(
        outcome="complete",
        validation_accuracy=accuracy,
        training_accuracy=accuracy,
        epochs=work.epochs,
        training_seconds=seconds,
        feature_seconds=0.0,
        evaluation_seconds=0.0,
        total_seconds=seconds,
        memory=Memory(peak_bytes=1, method="none", analytic_bytes=1, resident_bytes=0),
    )


def accuracy_of(work: TaskWork) -> float:
    """Different for every point, stage, prefix and seed, and never that of chance."""
    return 0.2 + 0.7 * int.from_bytes(_digest(work)[:4]) / 2**32


def checkpoint_of(work: TaskWork) -> bytes:
    """A checkpoint of a few kilobytes, the same for the same work."""
    return _tensor(_digest(work))


def snapshot_of(work: TaskWork, part: int) -> bytes:
    """The state of a training after so many parts, the same for the same work."""
    return _tensor(hashlib.sha256(_digest(work) + bytes([part])).digest())


def _tensor(digest: bytes) -> bytes:
    weights = struct.pack("<1024f", *(byte / 255 for byte in digest * 32))
    shape = {"dtype": "F32", "shape": [len(weights) // 4], "data_offsets": [0, len(weights)]}
    header = json.dumps({"weight": shape}).encode()
    return struct.pack("<Q", len(header)) + header + weights


def _digest(work: TaskWork) -> bytes:
    return hashlib.sha256(work.model_dump_json().encode()).digest()


if __name__ == "__main__":
    sys.exit(main())
