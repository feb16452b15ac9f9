"""A worker whose disk is full: its task goes on elsewhere without a strike, and it leaves with one line."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from contract.tasks import Snapshot, TaskFailure
from tests.http_server import TOKEN
from tests.worker.conftest import WORK, ProtocolServer, make_lease
from worker.__main__ import main
from worker.control import Control, MachineFailed
from worker.data import open_dataset
from worker.files import disk_trouble
from worker.jobs import Places, TorchExecutor

# For the folders of a home, and not for a data set.
BYTES = 64 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with next to no room."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={BYTES}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.usefixtures("impatient", "signals_restored")
def test_a_worker_without_room_hands_back_and_leaves(
    server: ProtocolServer,
    small_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    digest = open_dataset("digits", tmp_path / "roomy", None).info.digest
    server.leases = [make_lease("trial", dataset=WORK["dataset"] | {"digest": digest}), make_lease("trial")]
    monkeypatch.setenv("STAGETUNE_TOKEN", TOKEN)

    assert main(["--device", "cpu", "--server", server.url, "--home", str(small_disk), "--exit-when-idle"]) == 75

    (call,) = server.to("failure")
    failure = TaskFailure.model_validate_json(call.body)
    assert failure.reason == "preempted"
    assert "digits cannot be written to" in failure.message
    assert server.happened == ["register", "lease", "failure", "depart"], "and no further task was asked for"
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert str(small_disk) in line
    assert "\n" not in line


def test_a_checkpoint_that_finds_no_room_is_no_fault_of_its_task(tmp_path: Path) -> None:
    def download(_digest: str, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    digest = open_dataset("digits", tmp_path, None).info.digest
    prefix = [{"stage": WORK["stage"], "checkpoint": "a" * 64}]
    lease = make_lease("trial", dataset=WORK["dataset"] | {"digest": digest}, prefix=prefix)
    executor = TorchExecutor(torch.device("cpu"), Places(tmp_path, None), SimpleNamespace(download=download))

    with pytest.raises(MachineFailed, match="No space left"):
        executor(lease, Control())


def test_a_snapshot_that_finds_no_room_is_left_to_a_worker_that_has_it(tmp_path: Path) -> None:
    def download(_digest: str, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    digest = open_dataset("digits", tmp_path, None).info.digest
    snapshot = Snapshot(sha256="a" * 64, fraction=0.9)
    lease = make_lease("trial", dataset=WORK["dataset"] | {"digest": digest}).model_copy(update={"snapshot": snapshot})
    control = Control()
    executor = TorchExecutor(torch.device("cpu"), Places(tmp_path, None), SimpleNamespace(download=download))

    with pytest.raises(MachineFailed, match="No space left"):
        executor(lease, control)

    assert control.fraction is None, "nothing was trained"


def test_only_the_disks_own_errors_are_its_trouble() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    wrapped = ValueError("cannot be written")
    wrapped.__cause__ = full
    assert disk_trouble(wrapped) is full
    for other in (OSError("odd"), FileNotFoundError(errno.ENOENT, "no such file"), ValueError("wrong"), None):
        assert disk_trouble(other) is None
