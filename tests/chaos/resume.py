"""R6: a real training is killed again and again, each time goes on elsewhere, and ends with the same weights."""

import contextlib
import hashlib
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from contract.tasks import Lease
from service.artifacts import Folder
from service.domain.states import TaskKind
from service.domain.work import TaskWork
from service.storage.codec import decode
from service.storage.tasks import LeasedTask
from tests.chaos.cases import Spread
from tests.e2e.conftest import SUBMISSION, Stack
from tests.invariants import rows, violations
from worker.agent import Finished
from worker.control import Control
from worker.jobs import Places, TorchExecutor

# A training that is long enough for its kills: each comes some way after the one before.
EPOCHS_A_KILL = 20
SNAPSHOT_SECONDS = 0.05


@dataclass(frozen=True)
class Figures:
    """What was killed, and what it cost."""

    kills: int
    kills_are_at: list[float]
    """The fraction of the training that was safe when its worker was killed."""
    attempts: int
    strikes: int
    epochs: int
    epochs_again: float
    """Trained a second time, about: from the newest snapshot to the kill, at the pace of the whole training."""
    reclaimed: Spread | None
    """Seconds from a kill to the next attempt: the rest of the lease and the start of a worker."""
    digest: str
    undisturbed_digest: str

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def run(stack: Stack, database_url: str, folder: Path, kills: int, seed: int) -> Figures:
    """Kill a training so often at points that the seed chooses; raises AssertionError unless its weights are the same.

    Every worker has a home of its own in ``folder``: what one had on its disk is of no use to the next.
    """
    chance = random.Random(seed)
    points = sorted(chance.uniform(0.0, 0.95) for _ in range(kills))
    with stack.client() as client:
        experiment = client.submit(_one_trial(EPOCHS_A_KILL * kills))
    reached, unsafe = [0.0], 0.0
    killed_at: list[datetime] = []
    for number, point in enumerate(points):
        worker = stack.start_worker(
            "--home", str(folder / f"home-{number}"), "--snapshot-seconds", f"{SNAPSHOT_SECONDS}"
        )
        stack.until(lambda: _fraction(database_url) > max(reached[-1], point), "a snapshot that is further")  # noqa: B023 - waits inside
        worker.kill()
        worker.wait()
        ((age, now),) = rows(
            database_url, "SELECT extract(epoch FROM now() - stored_at), now() FROM stagetune.snapshot"
        )
        unsafe += float(str(age))
        assert isinstance(now, datetime)
        killed_at.append(now)
        # What was on its way may still arrive.
        stack.until(lambda: not rows(database_url, "SELECT FROM stagetune.task WHERE state = 'leased'"), "its end")
        reached.append(_fraction(database_url))
        assert reached[-1] < 1, "killed in the middle"
    stack.start_worker("--home", str(folder / "home-last"))
    assert stack.finish(experiment).state == "finished"

    ((work, checkpoint, attempt, strikes, seconds),) = rows(
        database_url,
        "SELECT t.work, r.checkpoint, r.attempt, t.strikes,"
        " r.training_seconds + CAST(r.payload ->> 'evaluation_seconds' AS double precision) FROM stagetune.task t"
        " JOIN stagetune.result r ON r.task_id = t.id WHERE t.kind = 'trial'",
    )
    assert isinstance(work, dict)
    assert isinstance(attempt, int)
    assert isinstance(strikes, int)
    assert isinstance(seconds, float)
    assert attempt == kills + 1
    assert strikes == 0, "every attempt got further than the one before"
    assert violations(database_url, stack.home) == []
    stored = {file.sha256 for file in Folder(stack.home / "artifacts").listing()}
    assert checkpoint in stored
    assert len(stored) <= kills + 2, "of the snapshots only the newest is kept, and what each kill cut off"
    undisturbed = _train(work, folder / "home-undisturbed")
    assert undisturbed.checkpoint is not None
    digest = hashlib.sha256(undisturbed.checkpoint).hexdigest()
    assert digest == checkpoint
    begun = [at for (at,) in rows(database_url, "SELECT started_at FROM stagetune.attempt WHERE n > 1 ORDER BY n")]
    return Figures(
        kills=kills,
        kills_are_at=[round(fraction, 3) for fraction in reached[1:]],
        attempts=attempt,
        strikes=strikes,
        epochs=EPOCHS_A_KILL * kills,
        epochs_again=round(unsafe * EPOCHS_A_KILL * kills / seconds, 1),
        reclaimed=Spread.of(_between(killed, again) for killed, again in zip(killed_at, begun, strict=True)),
        digest=str(checkpoint),
        undisturbed_digest=digest,
    )


def _between(earlier: datetime, later: object) -> float:
    assert isinstance(later, datetime)
    return (later - earlier).total_seconds()


def _one_trial(epochs: int) -> dict[str, Any]:
    return SUBMISSION | {
        "architectures": {"CNN 1": ["Conv-3-8 Pool-2"]},
        "variants": [{"architecture": "CNN 1", "learning": "total"}],
        "phases": [{"epochs": epochs, "trials": 1}],
    }


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
    with _one_thread():
        return TorchExecutor(torch.device("cpu"), Places(home, None), _NoServer())(lease, Control())


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """As the workers of the stack: sums come out the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _NoServer:
    def download(self, digest: str, target: Path) -> None:
        raise AssertionError(f"a first stage needs no checkpoint: {digest} into {target}")


def _fraction(database_url: str) -> float:
    found = rows(database_url, "SELECT fraction FROM stagetune.snapshot")
    return float(str(found[0][0])) if found else 0.0
