"""Tasks that cannot be done: which of it is the fault of the task, and which of the machine, the disk or the server."""

from pathlib import Path

import numpy as np
import pytest
import torch

from contract.tasks import Lease
from tests.http_server import Answer, problem
from tests.worker.conftest import SECOND, WORK, Leases, ProtocolServer, Shelf
from worker.client import ServerClient
from worker.control import Control, MachineFailed, TaskFailed
from worker.data import register
from worker.jobs import Places, TorchExecutor

pytestmark = pytest.mark.usefixtures("one_thread")


def failure(executor: TorchExecutor, lease: Lease) -> TaskFailed:
    with pytest.raises(TaskFailed) as raised:
        executor(lease, Control())
    return raised.value


def test_limits_are_failures_of_their_own(executor: TorchExecutor, lease: Leases) -> None:
    memory = failure(executor, lease(memory_limit=10_000))
    seconds = failure(executor, lease(time_limit=0.0))

    assert (memory.reason, seconds.reason) == ("memory-limit", "time-limit")
    assert "MiB" in str(memory)


def test_a_machine_without_the_memory_is_not_the_limits_fault(executor: TorchExecutor, lease: Leases) -> None:
    recipe = WORK["recipe"] | {"batch_size": 2**31 - 1}
    for limit in (None, 2**60):
        failed = failure(executor, lease(recipe=recipe, memory_limit=limit))

        assert failed.reason == "out-of-memory"
        assert "limits.memory" not in str(failed)


def test_tasks_that_cannot_be_done_as_written(executor: TorchExecutor, lease: Leases, digest: str) -> None:
    dataset = WORK["dataset"] | {"digest": digest}
    for task, said in (
        (lease(dataset=dataset | {"train": 5_000}), "5000"),
        (lease(hyperparameters=None), "the task has no hyperparameters"),
        (lease("evaluate"), "the task has no checkpoint"),
        (lease("range-test"), "the task has no learning rates"),
        (lease("range-test", learning_rates=[1e-3]), "the task has no steps for each learning rate"),
        (lease("embed"), "the task has no embedding"),
        (lease("embed", embedding={"points": 100, "perplexity": 50}), "the task has no checkpoint"),
    ):
        failed = failure(executor, task)
        assert failed.reason == "user-error"
        assert said in str(failed)


def test_a_machine_that_lacks_the_data_set_leaves_the_task_to_others(
    executor: TorchExecutor, lease: Leases, digest: str
) -> None:
    for dataset, said in (
        ({}, f"digits is here with the content {digest[:12]}, wanted is dddddddddddd"),
        ({"digest": digest, "name": "flowers"}, "there is no data set flowers here"),
    ):
        with pytest.raises(MachineFailed, match=said):
            executor(lease(dataset=WORK["dataset"] | dataset), Control())


@pytest.mark.parametrize("damage", ["truncated", "empty", "no file"])
def test_a_damaged_copy_of_the_data_set_is_the_machines_fault(
    tmp_path: Path, lease: Leases, shelf: Shelf, damage: str
) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", images=pixels, labels=np.arange(30) % 10)
    dataset = WORK["dataset"] | {"name": "own", "digest": register("own", tmp_path / "own.npz", tmp_path).digest}
    (images,) = (tmp_path / "datasets" / "own").glob("*/images.npy")
    if damage == "no file":
        # In the place of a file that cannot be read: root may read them all.
        images.unlink()
        images.mkdir()
    else:
        images.write_bytes(images.read_bytes()[: 200 if damage == "truncated" else 0])
    executor = TorchExecutor(torch.device("cpu"), Places(tmp_path, None), shelf)

    with pytest.raises(MachineFailed, match=r"the copy of own on this machine cannot be used: own is damaged"):
        executor(lease(dataset=dataset), Control())


def test_a_checkpoint_of_another_stage_is_no_prefix(executor: TorchExecutor, lease: Leases, shelf: Shelf) -> None:
    first = shelf.put(executor(lease(epochs=1), Control()).checkpoint)

    failed = failure(executor, lease("evaluate", stage=SECOND, checkpoint=first))

    assert failed.reason == "crashed"
    assert "the checkpoint holds" in str(failed)


@pytest.mark.parametrize(
    "answer",
    [
        problem(410, "artifact-damaged", "the artifact is gone from the store"),
        problem(404, "not-found", "no such artifact"),
        Answer(b"not what its name says"),
    ],
)
@pytest.mark.parametrize("kind", ["trial", "evaluate"])
def test_a_checkpoint_that_the_server_cannot_give_is_no_fault_of_the_task(
    server: ProtocolServer, client: ServerClient, home: Path, lease: Leases, kind: str, answer: Answer
) -> None:
    server.always("download", answer)
    executor = TorchExecutor(torch.device("cpu"), Places(home, None), client)
    prefix = [{"stage": WORK["stage"], "checkpoint": "a" * 64}]

    failed = failure(executor, lease(kind, stage=SECOND, prefix=prefix, checkpoint="b" * 64))

    assert failed.reason == "preempted"
    assert f"the checkpoint {'a' * 64} cannot be fetched" in str(failed)


def test_downloads_do_not_fill_the_disk(
    executor: TorchExecutor, lease: Leases, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = executor._checkpoints
    monkeypatch.setattr(store, "capacity", 1)
    digests = [shelf.put(executor(lease(seed=seed, epochs=1), Control()).checkpoint) for seed in (11, 12)]

    for digest in digests:
        executor(lease("evaluate", checkpoint=digest), Control())

    assert [store.has(digest) for digest in digests] == [False, True]


def test_a_damaged_copy_is_fetched_again_by_the_next_attempt(
    executor: TorchExecutor, lease: Leases, shelf: Shelf, home: Path
) -> None:
    digest = shelf.put(executor(lease(seed=7), Control()).checkpoint)
    evaluation = lease("evaluate", checkpoint=digest)
    executor(evaluation, Control())
    (home / "checkpoints" / f"{digest}.safetensors").write_bytes(b"damaged")

    assert failure(executor, evaluation).reason == "crashed"
    executor(evaluation, Control())

    assert shelf.taken == [digest, digest]
