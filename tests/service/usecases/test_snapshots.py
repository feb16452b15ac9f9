"""Snapshots of trainings: fenced, the newest only, and progress that spares strikes."""

import hashlib

import pytest

from service.domain.errors import InvalidArtifact, LeaseLost
from service.domain.leasing import FailureReason
from service.storage import artifacts
from service.storage.snapshots import Snapshot
from service.storage.tasks import LeasedTask
from service.usecases.reap_leases import reap_leases
from service.usecases.record_failure import record_failure
from service.usecases.record_snapshot import record_snapshot
from service.usecases.release_task import release_task
from tests.service.lab import LEASE, STRIKES, Lab


def upload(lab: Lab, name: str) -> str:
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    with lab.store.transaction() as tx:
        artifacts.add(tx, sha256, 100, artifacts.announce(tx, sha256))
    return sha256


def snap(lab: Lab, lease: LeasedTask, name: str, fraction: float) -> str | None:
    return record_snapshot(lab.store, lease.task, lease.attempt, upload(lab, name), fraction)


def leased(lab: Lab) -> LeasedTask:
    lab.submit()
    worker = lab.worker()
    lab.plan()
    return lab.take(worker)


def lose(lab: Lab, lease: LeasedTask) -> None:
    # The first pass of a reaper gives amnesty.
    reap_leases(lab.store, LEASE, STRIKES, 1e9)
    lab.expire(lease)
    assert reap_leases(lab.store, LEASE, STRIKES, 1e9) == 1


def strikes(lab: Lab, lease: LeasedTask) -> int:
    found: int = lab.value("SELECT strikes FROM task WHERE id = :id", id=lease.task)
    return found


def again(lab: Lab, lease: LeasedTask) -> LeasedTask:
    """The next attempt of a task, by another worker."""
    lab.run("UPDATE task SET not_before = now() WHERE id = :id", id=lease.task)
    while True:
        taken = lab.take(lab.worker())
        if taken.task == lease.task:
            return taken


def test_the_next_attempt_is_told_the_newest_snapshot(lab: Lab) -> None:
    first = leased(lab)
    assert first.snapshot is None
    assert snap(lab, first, "early", 0.2) is None
    assert snap(lab, first, "late", 0.4) == upload(lab, "early")
    assert snap(lab, first, "late", 0.4) is None, "a repetition changes nothing"
    release_task(lab.store, first.task, first.attempt)

    second = again(lab, first)

    assert second.snapshot == Snapshot(upload(lab, "late"), 0.4)
    assert lab.value("SELECT fraction FROM task WHERE id = :id", id=first.task) == 0.4


def test_one_that_was_overtaken_on_its_way_does_not_win(lab: Lab) -> None:
    lease = leased(lab)
    snap(lab, lease, "late", 0.4)
    assert snap(lab, lease, "early", 0.2) == upload(lab, "early")
    assert lab.value("SELECT sha256 FROM snapshot") == upload(lab, "late")


def test_a_superseded_attempt_is_refused(lab: Lab) -> None:
    first = leased(lab)
    release_task(lab.store, first.task, first.attempt)
    second = again(lab, first)
    with pytest.raises(LeaseLost):
        snap(lab, first, "stale", 0.9)
    with pytest.raises(LeaseLost):
        record_snapshot(lab.store, second.task, second.attempt + 1, upload(lab, "future"), 0.9)
    lab.finish(second)
    with pytest.raises(LeaseLost):
        snap(lab, second, "too late", 0.9)


def test_a_late_attempt_is_taken_while_nobody_else_has_the_task(lab: Lab) -> None:
    lease = leased(lab)
    lose(lab, lease)
    snap(lab, lease, "late", 0.5)
    assert again(lab, lease).snapshot == Snapshot(upload(lab, "late"), 0.5)


def test_what_was_not_uploaded_is_no_snapshot(lab: Lab) -> None:
    lease = leased(lab)
    with pytest.raises(InvalidArtifact):
        record_snapshot(lab.store, lease.task, lease.attempt, "0" * 64, 0.5)


@pytest.mark.parametrize("reason", ["lost", "crashed"])
def test_attempts_that_get_further_are_no_strikes(lab: Lab, reason: str) -> None:
    lease = leased(lab)
    for number in range(STRIKES + 2):
        snap(lab, lease, f"state {number}", (number + 1) / 10)
        if reason == "lost":
            lose(lab, lease)
        else:
            record_failure(lab.store, lease.task, lease.attempt, FailureReason.CRASHED, STRIKES)
        assert strikes(lab, lease) == 0
        lease = again(lab, lease)
    assert lab.value("SELECT state FROM task WHERE id = :id", id=lease.task) == "leased"


def test_attempts_that_get_no_further_are_strikes(lab: Lab) -> None:
    lease = leased(lab)
    snap(lab, lease, "furthest", 0.5)
    lose(lab, lease)
    for number in range(1, STRIKES + 1):
        lease = again(lab, lease)
        # Begun anew: the newest snapshot, but not the furthest that the task has seen.
        snap(lab, lease, f"anew {number}", 0.1 * number)
        record_failure(lab.store, lease.task, lease.attempt, FailureReason.CRASHED, STRIKES)
        assert strikes(lab, lease) == number
    assert lab.value("SELECT state FROM task WHERE id = :id", id=lease.task) == "failed"


def test_running_out_of_memory_is_a_strike_all_the_same(lab: Lab) -> None:
    lease = leased(lab)
    snap(lab, lease, "furthest", 0.5)
    record_failure(lab.store, lease.task, lease.attempt, FailureReason.OUT_OF_MEMORY, STRIKES)
    assert strikes(lab, lease) == 1
