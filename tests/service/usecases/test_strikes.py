"""What counts against a task: only attempts that were lost or crashed where those before them had got to."""

import hashlib
from uuid import UUID

import pytest

from service.domain.leasing import FailureReason
from service.domain.states import TaskState
from service.storage import artifacts
from service.storage.tasks import LeasedTask
from service.usecases.reap_leases import reap_leases
from service.usecases.record_failure import record_failure
from service.usecases.record_snapshot import record_snapshot
from tests.service.lab import HEARTBEAT, LEASE, STRIKES, Lab


def reap(lab: Lab) -> int:
    return reap_leases(lab.store, LEASE, STRIKES, outage_seconds=LEASE - HEARTBEAT)


def secure(lab: Lab, lease: LeasedTask, fraction: float) -> None:
    """As the worker does with a snapshot: its bytes are there before they are named."""
    digest = hashlib.sha256(f"{lease.attempt} {fraction}".encode()).hexdigest()
    with lab.store.transaction() as tx:
        artifacts.add(tx, digest, 1, artifacts.announce(tx, digest))
    record_snapshot(lab.store, lease.task, lease.attempt, digest, fraction)


def crash(lab: Lab, lease: LeasedTask, log: str = "") -> TaskState:
    """The task's next state; it may be leased again at once."""
    answer = record_failure(lab.store, lease.task, lease.attempt, FailureReason.CRASHED, STRIKES, log=log)
    lab.run("UPDATE task SET not_before = now() WHERE id = :id", id=lease.task)
    return answer.state


def strikes(lab: Lab, task: UUID) -> int:
    return int(lab.value("SELECT strikes FROM task WHERE id = :id", id=task))


@pytest.fixture
def worker(lab: Lab) -> UUID:
    reap(lab)
    lab.submit(phases=[{"epochs": 1, "trials": 1}])
    worker = lab.worker()
    lab.plan()
    return worker


def test_an_attempt_that_leaves_a_better_checkpoint_is_no_strike(lab: Lab, worker: UUID) -> None:
    for attempt, fraction in enumerate((0.2, 0.4, 0.6, 0.8), 1):
        lease = lab.take(worker)
        assert lease.attempt == attempt, "numbers only grow"
        secure(lab, lease, fraction)
        if attempt % 2:
            assert crash(lab, lease) is TaskState.READY
        else:
            lab.expire(lease)
            assert reap(lab) == 1
        assert strikes(lab, lease.task) == 0


def test_three_attempts_that_get_no_further_are_a_dead_letter_wherever_they_stop(lab: Lab, worker: UUID) -> None:
    lease = lab.take(worker)
    secure(lab, lease, 0.5)
    assert crash(lab, lease) is TaskState.READY
    for strike in range(1, STRIKES + 1):
        lease = lab.take(worker)
        secure(lab, lease, 0.5)
        secure(lab, lease, 0.25)
        assert crash(lab, lease) is (TaskState.READY if strike < STRIKES else TaskState.FAILED)
        assert strikes(lab, lease.task) == strike
    assert lab.value("SELECT progress FROM task") == 0.5


def test_the_end_of_the_log_is_kept(lab: Lab, worker: UUID) -> None:
    crash(lab, lab.take(worker), log="\n".join(f"line {number}" for number in range(500)))
    kept = lab.value("SELECT log FROM attempt").splitlines()
    assert (len(kept), kept[0], kept[-1]) == (200, "line 300", "line 499")


def test_a_failure_told_after_the_last_strike_changes_nothing(lab: Lab, worker: UUID) -> None:
    for _ in range(STRIKES):
        lease = lab.take(worker)
        lab.expire(lease)
        assert reap(lab) == 1
    assert crash(lab, lease) is TaskState.FAILED
    assert strikes(lab, lease.task) == STRIKES
