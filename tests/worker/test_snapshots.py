"""The folder of unfinished trainings."""

import os
import time
from pathlib import Path
from uuid import uuid4

from worker.snapshots import OLDEST_SECONDS, Snapshots


def test_the_last_state_is_kept_until_dropped(tmp_path: Path) -> None:
    snapshots, task = Snapshots(tmp_path), uuid4()
    assert snapshots.get(task) is None
    snapshots.keep(task, b"one")
    snapshots.keep(task, b"two")
    assert Snapshots(tmp_path).get(task) == b"two"
    snapshots.drop(task)
    snapshots.drop(task)
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_came_back_for_goes(tmp_path: Path) -> None:
    old, young = uuid4(), uuid4()
    snapshots = Snapshots(tmp_path)
    snapshots.keep(old, b"old")
    snapshots.keep(young, b"young")
    long_ago = time.time() - OLDEST_SECONDS - 60
    os.utime(tmp_path / f"{old}.safetensors", (long_ago, long_ago))
    again = Snapshots(tmp_path)
    assert (again.get(old), again.get(young)) == (None, b"young")


def test_a_file_that_another_worker_takes_away_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")  # listed, and not there
    Snapshots(tmp_path)


def test_a_folder_that_cannot_be_written_costs_the_snapshot_only(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    snapshots, task = Snapshots(folder), uuid4()
    folder.rmdir()
    snapshots.keep(task, b"state")
    assert snapshots.get(task) is None
