"""A training that ends on another worker than it began on, from the snapshots that the first one uploaded."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from contract.base import Digest
from contract.tasks import Lease, Measurement, Snapshot
from tests.http_server import Answer
from tests.worker.conftest import LEASE_LOST, UNAVAILABLE, WORK, ProtocolServer, make_lease, wait_for
from tests.worker.test_agent import REGISTRATION
from worker.agent import Agent
from worker.client import ServerClient, Unreachable
from worker.control import Control, Stopped
from worker.data import open_dataset
from worker.jobs import Places, TorchExecutor
from worker.snapshot_uploads import SnapshotUploads
from worker.training.network import InputStatistics, build_network
from worker.training.spec import Conv, CurvePoint, Stage
from worker.training.state import Position, restore_state, save_state

pytestmark = pytest.mark.usefixtures("one_thread")

EPOCHS = 6
Executors = Callable[..., TorchExecutor]


class Killed(BaseException):
    """kill -9, as far as the training can tell: nothing after it runs."""


class Deadly(Control):
    """Kills at the measurement of this number, once what was offered before has arrived."""

    def __init__(self, server: ProtocolServer, number: int = 4) -> None:
        super().__init__()
        self._server, self._number = server, number

    def report(self, report: Measurement) -> None:
        super().report(report)
        if len(self._pending) == self._number:
            wait_for(lambda: newest(self._server) is not None)
            raise Killed


class Pausing(Control):
    """Pauses at the second measurement."""

    def report(self, report: Measurement) -> None:
        super().report(report)
        if len(self._pending) == 2:
            self.command("pause")


def newest(server: ProtocolServer) -> Snapshot | None:
    """The snapshot that was named last."""
    named = [Snapshot.model_validate_json(call.body) for call in server.calls if server.route(call) == "snapshot"]
    return named[-1] if named else None


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    return open_dataset("digits", tmp_path_factory.mktemp("home"), None).info.digest


@pytest.fixture
def lease(digest: str) -> Lease:
    return make_lease(dataset=WORK["dataset"] | {"digest": digest}, epochs=EPOCHS)


@pytest.fixture
def executor(client: ServerClient, tmp_path: Path) -> Executors:
    """Workers, each with a home of its own, that take a snapshot at every look."""

    def make(home: str, seconds: float = 0) -> TorchExecutor:
        return TorchExecutor(torch.device("cpu"), Places(tmp_path / home, None, seconds), client, client.twin())

    return make


@pytest.fixture
def undisturbed(executor: Executors, lease: Lease) -> bytes:
    """The checkpoint of the training when nothing happens to it."""
    checkpoint = executor("undisturbed", 3600)(lease, Control()).checkpoint
    assert checkpoint is not None
    return checkpoint


def handed_on(server: ProtocolServer, lease: Lease) -> Lease:
    """The lease of the next attempt."""
    return lease.model_copy(update={"attempt": lease.attempt + 1, "snapshot": newest(server)})


def test_a_killed_training_ends_elsewhere_bit_by_bit(
    server: ProtocolServer, executor: Executors, lease: Lease, undisturbed: bytes
) -> None:
    with pytest.raises(Killed):
        executor("first")(lease, Deadly(server))
    snapshot = newest(server)
    assert snapshot is not None
    assert 0 < snapshot.fraction < 1
    control = Control()

    finished = executor("second", 3600)(handed_on(server, lease), control)

    assert finished.checkpoint == undisturbed
    assert "download" in server.happened
    assert control.take_reports()[0].epoch > snapshot.fraction * EPOCHS, "it did not start from the beginning"


def test_what_is_handed_back_lies_at_the_server_before(
    server: ProtocolServer, executor: Executors, lease: Lease, undisturbed: bytes
) -> None:
    control = Pausing()
    with pytest.raises(Stopped):
        executor("first", 3600)(lease, control)

    snapshot = newest(server)

    assert snapshot is not None
    assert snapshot.fraction == control.fraction
    assert executor("second", 3600)(handed_on(server, lease), Control()).checkpoint == undisturbed


@pytest.mark.usefixtures("signals_restored")
def test_a_training_whose_result_cannot_be_handed_in_is_not_trained_again(
    server: ProtocolServer, client: ServerClient, executor: Executors, lease: Lease, undisturbed: bytes
) -> None:
    server.leases = [lease]
    server.always("upload", UNAVAILABLE)
    with pytest.raises(Unreachable):
        Agent(client, lambda: REGISTRATION, executor("first"), wait_seconds=0).run()
    control = Control()

    again = executor("first")(handed_on(server, lease), control)

    assert again.checkpoint == undisturbed
    assert control.take_reports() == [], "its last snapshot was taken at its end"


@pytest.mark.parametrize("trouble", ["foreign", "damaged", "gone"])
def test_a_snapshot_of_no_use_costs_only_the_time(
    server: ProtocolServer, executor: Executors, lease: Lease, undisturbed: bytes, client: ServerClient, trouble: str
) -> None:
    content = undisturbed
    if trouble == "damaged":
        with pytest.raises(Stopped):
            executor("first", 3600)(lease, Pausing())
        snapshot = newest(server)
        assert snapshot is not None
        content = server.artifacts[snapshot.sha256][:-100]
    named = Snapshot(sha256=client.upload(content, lease), fraction=0.5)
    if trouble == "gone":
        server.artifacts.clear()

    again = lease.model_copy(update={"snapshot": named})

    assert executor("second", 3600)(again, Control()).checkpoint == undisturbed


@pytest.mark.parametrize(("verb", "answer"), [("upload", UNAVAILABLE), ("snapshot", LEASE_LOST)])
def test_a_server_that_takes_no_snapshot_disturbs_no_training(
    server: ProtocolServer, executor: Executors, lease: Lease, undisturbed: bytes, verb: str, answer: Answer
) -> None:
    server.always(verb, answer)

    assert executor("first")(lease, Control()).checkpoint == undisturbed


class Slow:
    """A server that takes its time, and fails when told to."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.contents: list[bytes] = []
        self.fails = False

    def upload(self, content: bytes, lease: Lease, patience: float | None = None) -> Digest:
        assert (lease.kind, patience) == ("trial", 0)
        self.begun.release()
        assert self.go_on.acquire(timeout=60)
        if self.fails:
            raise ZeroDivisionError
        self.contents.append(content)
        return "0" * 64

    def snapshot(self, lease: Lease, snapshot: Snapshot) -> None:
        pass


def test_the_newest_snapshot_wins_and_no_failure_is_the_last(lease: Lease) -> None:
    slow = Slow()
    uploads = SnapshotUploads(slow)
    uploads.offer(lease, b"first", 0.1)
    assert slow.begun.acquire(timeout=60)
    for state in (b"second", b"third"):
        uploads.offer(lease, state, 0.2)
    assert not uploads.finish(0.01), "offering waits for nothing"
    slow.fails = True
    slow.go_on.release()
    assert slow.begun.acquire(timeout=60)
    slow.fails = False
    slow.go_on.release()
    assert uploads.finish(60)
    assert slow.contents == [b"third"]


def test_what_waits_when_the_training_ends_is_not_uploaded(lease: Lease) -> None:
    slow = Slow()
    uploads = SnapshotUploads(slow)
    uploads.offer(lease, b"first", 0.1)
    assert slow.begun.acquire(timeout=60)
    uploads.offer(lease, b"second", 0.2)
    uploads.forget()
    slow.go_on.release()
    assert uploads.finish(60)
    assert slow.contents == [b"first"]


def test_ten_thousand_measurements_do_not_swell_the_header() -> None:
    stage = Stage((Conv(3, 2),), (1, 8, 8), (2, 8, 8))
    network = build_network(stage, 10, "linear", "he", 0, InputStatistics.identity(1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    curve = [CurvePoint(step, step / 7, 0.1, 1 / (step + 1)) for step in range(10_000)]
    state = save_state(network, optimizer, Position(step=9_999, curve=curve), {})
    assert int.from_bytes(state[:8], "little") < 10_000
    assert restore_state(state, network, optimizer, {}).curve == curve


def test_the_random_state_is_part_of_a_snapshot() -> None:
    stage = Stage((Conv(3, 2),), (1, 8, 8), (2, 8, 8))
    network = build_network(stage, 10, "linear", "he", 0, InputStatistics.identity(1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    state = save_state(network, optimizer, Position(), {})
    expected = torch.rand(5)
    restore_state(state, network, optimizer, {})
    assert torch.equal(torch.rand(5), expected)
