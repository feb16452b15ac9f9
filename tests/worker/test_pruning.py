"""A server that ends a training early, over real HTTP."""

from pathlib import Path

import pytest
import torch

from contract.tasks import Heartbeat, TaskResult, TrainingOutcome, WorkerRegistration
from tests.worker.conftest import WORK, ProtocolServer, make_lease
from worker.agent import Agent
from worker.client import ServerClient
from worker.data import open_dataset
from worker.jobs import Places, TorchExecutor

pytestmark = pytest.mark.usefixtures("signals_restored", "one_thread")


def test_a_pruned_training_ends_long_before_the_next_heartbeat(
    server: ProtocolServer, client: ServerClient, tmp_path: Path
) -> None:
    digest = open_dataset("digits", tmp_path, None).info.digest
    work = {"dataset": WORK["dataset"] | {"digest": digest}, "pruned": True, "epochs": 1_000_000}
    server.leases = [make_lease(**work)]
    server.heartbeat_seconds = 3_600
    server.command = "prune"
    executor = TorchExecutor(torch.device("cpu"), Places(tmp_path, None), client)

    registration = WorkerRegistration(name="gpu", device="cpu")
    Agent(client, lambda: registration, executor, exit_when_idle=True, wait_seconds=0).run()

    first, *_ = [Heartbeat.model_validate_json(call.body).reports for call in server.to("beat")]
    (told,) = server.to("result")
    outcome = TaskResult.model_validate_json(told.body).result
    assert isinstance(outcome, TrainingOutcome)
    assert outcome.outcome == "pruned"
    assert first[0] == outcome.curve[0], "the first measurement was reason enough"
    assert server.happened == ["register", "lease", "result", "lease", "depart"]
