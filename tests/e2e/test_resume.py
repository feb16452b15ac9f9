"""kill -9 in the middle of a real training: on another worker, from another home, it ends with the same weights."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
import torch

from contract.tasks import Lease
from service.artifacts import Folder
from service.domain.states import TaskKind
from service.domain.work import TaskWork
from service.storage.codec import decode
from service.storage.tasks import LeasedTask
from tests.e2e.conftest import SUBMISSION, Stack
from tests.invariants import violations
from worker.agent import Finished
from worker.control import Control
from worker.jobs import Places, TorchExecutor

# Four workers start one after the other, each with its import of torch.
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

KILLS = 3
ONE_TRIAL = SUBMISSION | {
    "architectures": {"CNN 1": ["Conv-3-8 Pool-2"]},
    "variants": [{"architecture": "CNN 1", "learning": "total"}],
    "phases": [{"epochs": 60, "trials": 1}],
}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the workers of the stack: sums come out the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_training_killed_again_and_again_ends_elsewhere_bit_by_bit(
    stack: Stack, database_url: str, tmp_path: Path
) -> None:
    with stack.client() as client:
        experiment = client.submit(ONE_TRIAL)
    reached = 0.0
    for number in range(KILLS):
        worker = stack.start_worker("--home", str(tmp_path / f"home-{number}"), "--snapshot-seconds", "0.05")
        stack.until(lambda: _fraction(database_url) > reached, "a snapshot that is further")  # noqa: B023 - waits inside
        worker.kill()
        worker.wait()
        # What was on its way may still arrive.
        stack.until(lambda: not _rows(database_url, "SELECT FROM stagetune.task WHERE state = 'leased'"), "its end")
        reached = _fraction(database_url)
        assert reached < 1, "killed in the middle"
    stack.start_worker("--home", str(tmp_path / "home-last"))
    assert stack.finish(experiment).state == "finished"

    ((work, checkpoint, attempt, strikes),) = _rows(
        database_url,
        "SELECT t.work, r.checkpoint, r.attempt, t.strikes FROM stagetune.task t"
        " JOIN stagetune.result r ON r.task_id = t.id WHERE t.kind = 'trial'",
    )
    assert attempt == KILLS + 1
    assert strikes == 0, "every attempt got further than the one before"
    assert "goes on after" in stack.logs()
    undisturbed = _train(work, tmp_path / "home-of-the-test")
    assert undisturbed.checkpoint is not None
    assert hashlib.sha256(undisturbed.checkpoint).hexdigest() == checkpoint
    assert violations(database_url) == []
    stored = {file.sha256 for file in Folder(stack.home / "artifacts").listing()}
    assert checkpoint in stored
    assert len(stored) <= KILLS + 2, "of the snapshots only the newest is kept, and what each kill cut off"


def _train(work: dict[str, Any], home: Path) -> Finished:
    """The same task from its beginning to its end, in this process."""
    leased = LeasedTask(
        task=uuid4(),
        attempt=1,
        kind=TaskKind.TRIAL,
        label="undisturbed",
        expires_at=datetime.now(UTC),
        lease_seconds=3,
        work=decode(TaskWork, work),
        snapshot=None,
    )
    lease = Lease.model_validate(leased, from_attributes=True)
    return TorchExecutor(torch.device("cpu"), Places(home, None), _NoServer())(lease, Control())


class _NoServer:
    def download(self, digest: str, target: Path) -> None:
        raise AssertionError(f"a first stage needs no checkpoint: {digest} into {target}")


def _fraction(database_url: str) -> float:
    rows = _rows(database_url, "SELECT fraction FROM stagetune.snapshot")
    return float(rows[0][0]) if rows else 0.0


def _rows(database_url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg2.connect(database_url.replace("+psycopg2", "", 1)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        found = list(cursor.fetchall())
    connection.close()
    return found
