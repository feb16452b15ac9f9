"""The server's side of the worker protocol, played over real HTTP, its leases, and a chain of trained stages."""

import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import stamina
import torch

from contract.base import Digest
from contract.tasks import (
    Command,
    FailureAccepted,
    HeartbeatAnswer,
    Lease,
    Memory,
    RegisteredWorker,
    ResultAccepted,
    StoredArtifact,
    TrainingOutcome,
)
from tests.http_server import NO_CONTENT, TOKEN, Answer, Call, FakeServer, problem
from worker.checkpoints import CheckpointStore, content_address
from worker.client import ServerClient
from worker.control import Control
from worker.data import Dataset, open_dataset
from worker.jobs import Places, TorchExecutor
from worker.stage_training import DataUse, FrozenStage, StageJob, Workbench, train_stage
from worker.training.spec import Budget, Conv, Hyperparameters, Pool, Recipe, Stage

VERBS = {
    "register": r"PUT /v1/worker/workers/[^/]+",
    "depart": r"DELETE /v1/worker/workers/[^/]+",
    "lease": r"POST /v1/worker/leases",
    "beat": r"POST /v1/worker/tasks/[^/]+/attempts/\d+/heartbeat",
    "result": r"PUT /v1/worker/tasks/[^/]+/attempts/\d+/result",
    "failure": r"PUT /v1/worker/tasks/[^/]+/attempts/\d+/failure",
    "snapshot": r"PUT /v1/worker/tasks/[^/]+/attempts/\d+/snapshot",
    "release": r"POST /v1/worker/tasks/[^/]+/attempts/\d+/release",
    "upload": r"PUT /v1/worker/artifacts/[0-9a-f]+",
    "download": r"GET /v1/artifacts/[0-9a-f]+",
}
LEASE_LOST = problem(409, "lease-lost", "another attempt has the task")
UNAVAILABLE = problem(503, "database-unavailable", "the database is away")

WORK: dict[str, Any] = {
    "dataset": {
        "name": "digits",
        "digest": "d" * 64,
        "classes": 10,
        "train": 600,
        "validation": 200,
        "preprocessing": "standardize",
    },
    "prefix": [],
    "stage": {
        "layers": [{"kind": "conv", "size": 3, "filters": 8}, {"kind": "pool", "size": 2}],
        "input_shape": (1, 8, 8),
        "output_shape": (8, 4, 4),
    },
    "recipe": {
        "batch_size": 20,
        "optimizer": "sgd",
        "momentum": 0.9,
        "precision": "float32",
        "initialization": "he",
        "head": "linear",
        "standardize_inputs": True,
    },
    "epochs": 2,
    "seed": 0,
    "hyperparameters": {"learning_rate": 1e-2, "regularization": 5e-4},
}

SECOND: dict[str, Any] = {
    "layers": [{"kind": "conv", "size": 3, "filters": 4}],
    "input_shape": (8, 4, 4),
    "output_shape": (4, 4, 4),
}

Leases = Callable[..., Lease]

USE = DataUse(1200, 237)
CHAIN = (
    Stage((Conv(3, 16), Pool(2)), (1, 8, 8), (16, 4, 4)),
    Stage((Conv(3, 4), Pool(2)), (16, 4, 4), (4, 2, 2)),
)


def make_lease(kind: str = "trial", **work: Any) -> Lease:
    """A lease as the server writes it: through JSON, so that it is what a worker reads."""
    document = {
        "task": str(uuid4()),
        "attempt": 3,
        "kind": kind,
        "label": f"CNN 1, stage 1, {kind}",
        "expires_at": (datetime.now(UTC) + timedelta(seconds=30)).isoformat(),
        "lease_seconds": 30.0,
        "work": WORK | work,
    }
    return Lease.model_validate(document)


def training_outcome(**changes: Any) -> TrainingOutcome:
    fields: dict[str, Any] = {
        "outcome": "complete",
        "validation_accuracy": 0.9,
        "training_accuracy": 0.95,
        "epochs": 2.0,
        "training_seconds": 1.0,
        "feature_seconds": 0.0,
        "evaluation_seconds": 0.1,
        "total_seconds": 1.2,
        "memory": Memory(peak_bytes=10, method="counted", analytic_bytes=9, resident_bytes=8),
    }
    return TrainingOutcome.model_validate(fields | changes)


class Shelf:
    """The server's artifacts, without a server."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.taken: list[str] = []

    def put(self, content: bytes | None) -> str:
        assert content is not None
        digest = content_address(content)
        self.contents[digest] = content
        return digest

    def download(self, digest: Digest, target: Path) -> None:
        self.taken.append(digest)
        target.write_bytes(self.contents[digest])


class StopsAt(Control):
    """Stops by the command at the check of this number; ``checks`` counts them."""

    def __init__(self, number: int, command: Command = "drain") -> None:
        super().__init__()
        self.checks = 0
        self._number, self._stop = number, command

    def check(self) -> None:
        self.checks += 1
        if self.checks == self._number:
            self.command(self._stop)
        super().check()


def wait_for(condition: Callable[[], bool]) -> None:
    turn = threading.Event()
    for _ in range(6_000):
        if condition():
            return
        turn.wait(0.005)
    raise AssertionError("it never came")


class ProtocolServer(FakeServer):
    """Grants everything, by the words of the protocol's table; ``next`` and ``always`` make it say something else."""

    def __init__(self) -> None:
        super().__init__()
        self.leases: list[Lease] = []
        self.artifacts: dict[str, bytes] = {}
        self.command: Command = "continue"
        self.heartbeat_seconds = 0.02
        self._next: dict[str, list[Answer]] = {}
        self._always: dict[str, Answer] = {}

    @property
    def happened(self) -> list[str]:
        """The calls so far as verbs, heartbeats left out."""
        return [verb for verb in map(self.route, self.calls) if verb != "beat"]

    def next(self, verb: str, *answers: Answer) -> None:
        """Answer the next calls so."""
        self._next.setdefault(verb, []).extend(answers)

    def always(self, verb: str, answer: Answer) -> None:
        """Answer every call so from now on."""
        self._always[verb] = answer

    def route(self, call: Call) -> str:
        line = super().route(call)
        return next((verb for verb, pattern in VERBS.items() if re.fullmatch(pattern, line)), line)

    def choose(self, call: Call) -> Answer:
        verb = self.route(call)
        if self._next.get(verb):
            return self._next[verb].pop(0)
        if verb in self._always:
            return self._always[verb]
        return self._grant(verb, call.path.split("/"), call.body)

    def _grant(self, verb: str, path: list[str], body: bytes) -> Answer:
        match verb:
            case "register":
                timing = RegisteredWorker(
                    id=UUID(path[4]), heartbeat_seconds=self.heartbeat_seconds, lease_seconds=30.0
                )
                return Answer(timing)
            case "lease":
                return Answer(self.leases.pop(0)) if self.leases else NO_CONTENT
            case "beat":
                return Answer(HeartbeatAnswer(command=self.command, expires_at=datetime.now(UTC)))
            case "result":
                return Answer(ResultAccepted(task=UUID(path[4]), attempt=int(path[6]), repeated=False))
            case "failure":
                return Answer(FailureAccepted(task=UUID(path[4]), attempt=int(path[6]), state="ready"))
            case "upload":
                self.artifacts[path[4]] = body
                return Answer(StoredArtifact(sha256=path[4], size=len(body)), 201)
            case "download" if path[3] in self.artifacts:
                return Answer(self.artifacts[path[3]])
            case "release" | "depart" | "snapshot":
                return NO_CONTENT
        return problem(404, "not-found", "there is no such thing")


@pytest.fixture
def server() -> Iterator[ProtocolServer]:
    fake = ProtocolServer()
    yield fake
    fake.close()


@pytest.fixture
def impatient() -> Iterator[None]:
    """Retries at once, and three tries are all."""
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@pytest.fixture
def client(server: ProtocolServer, impatient: None) -> Iterator[ServerClient]:  # noqa: ARG001
    client = ServerClient(server.url, TOKEN)
    yield client
    client.close()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Sums come out the same everywhere; and threads that wait for each other on busy cores take a hundredfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset("digits", tmp_path_factory.mktemp("home"), None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CheckpointStore:
    return CheckpointStore(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def chain(digits: Dataset, store: CheckpointStore) -> list[FrozenStage]:
    """Two stages, trained on the digits one after the other; their checkpoints lie in ``store``."""
    bench = Workbench(torch.device("cpu"), store)
    job = StageJob(CHAIN[0], (), USE, Recipe(batch_size=20), Hyperparameters(1e-2, 5e-4), Budget(2), seed=0)
    stages: list[FrozenStage] = []
    for stage in CHAIN:
        trained = train_stage(replace(job, stage=stage, prefix=tuple(stages)), digits, bench)
        assert trained.checkpoint is not None
        stages.append(FrozenStage(stage, store.put(trained.checkpoint)))
    return stages


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def digest(home: Path) -> str:
    return open_dataset("digits", home, None).info.digest


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def executor(home: Path, shelf: Shelf) -> TorchExecutor:
    return TorchExecutor(torch.device("cpu"), Places(home, None), shelf)


@pytest.fixture
def lease(digest: str) -> Leases:
    def make(kind: str = "trial", **work: Any) -> Lease:
        return make_lease(kind, **({"dataset": WORK["dataset"] | {"digest": digest}} | work))

    return make


@pytest.fixture
def signals_restored() -> Iterator[Callable[[int], None]]:
    """A worker takes the signals of its process for itself; yields what sends this process one."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield signal.raise_signal
    for number, handler in before.items():
        signal.signal(number, handler)
