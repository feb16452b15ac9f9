"""Leases: claimed once, renewed late, superseded for good."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from uuid import UUID, uuid4

import pytest

from service.domain.errors import Conflict, LeaseLost, NotFound, ResultConflict
from service.domain.experiment import Dataset
from service.domain.leasing import FailureReason
from service.domain.states import TaskState
from service.storage.results import Measurement
from service.storage.tasks import LeasedTask
from service.usecases.depart_worker import depart_worker
from service.usecases.reap_leases import reap_leases
from service.usecases.record_failure import FailureAccepted, record_failure
from service.usecases.record_result import record_result
from service.usecases.release_task import release_task
from service.usecases.renew_lease import Command, Renewal, renew_lease
from tests.service.lab import HEARTBEAT, LEASE, STRIKES, Lab, never

OUTCOMES = "SELECT outcome FROM attempt ORDER BY n"


def renew(lab: Lab, lease: LeasedTask, *measurements: Measurement) -> Renewal:
    return renew_lease(lab.store, never, lease.task, lease.attempt, LEASE, measurements)


def fail(lab: Lab, lease: LeasedTask, reason: FailureReason = FailureReason.CRASHED) -> FailureAccepted:
    return record_failure(lab.store, lease.task, lease.attempt, reason, STRIKES, message="it broke", seconds=1.5)


def reap(lab: Lab) -> int:
    return reap_leases(lab.store, LEASE, STRIKES, outage_seconds=LEASE - HEARTBEAT)


@pytest.fixture
def worker(lab: Lab) -> UUID:
    """A worker with a reaper that has just been there."""
    reap(lab)
    return lab.worker(slots=4)


@pytest.fixture
def lease(lab: Lab, worker: UUID) -> LeasedTask:
    lab.submit()
    lab.plan()
    return lab.take(worker)


def test_twenty_claims_at_once_lease_a_hundred_tasks_once_each(lab: Lab) -> None:
    workers = [lab.worker(slots=10) for _ in range(20)]
    lab.submit(phases=[{"epochs": 1, "trials": 100}])
    lab.plan()
    assert lab.value("SELECT count(*) FROM task WHERE state = 'ready'") == 100
    start = Barrier(20)

    def claim(worker: UUID) -> list[LeasedTask]:
        start.wait()
        return [lease for _ in range(10) if (lease := lab.lease(worker)) is not None]

    with ThreadPoolExecutor(20) as pool:
        leases = [lease for taken in pool.map(claim, workers) for lease in taken]

    assert len(leases) == len({lease.task for lease in leases}) == 100
    assert {lease.attempt for lease in leases} == {1}


def test_a_repeated_request_gets_the_same_lease(lab: Lab, worker: UUID) -> None:
    lab.submit()
    lab.plan()
    request = uuid4()

    first = lab.lease(worker, request)

    assert first is not None
    # Its answer was lost for so long that the lease was all but over: the worker beats a beat from now.
    lab.run("UPDATE task SET lease_expires_at = now() + interval '1 second' WHERE id = :id", id=first.task)
    again = lab.lease(worker, request)
    assert again is not None
    assert replace(again, expires_at=first.expires_at) == first
    assert again.expires_at >= first.expires_at
    assert lab.value("SELECT count(*) FROM attempt") == 1
    lab.finish(first)
    with pytest.raises(Conflict):
        lab.lease(worker, request)


def test_a_request_sent_twice_at_once_gets_one_lease(lab: Lab, worker: UUID) -> None:
    lab.submit()
    lab.plan()
    request, start = uuid4(), Barrier(4)

    def claim(_: int) -> LeasedTask | None:
        start.wait()
        return lab.lease(worker, request)

    with ThreadPoolExecutor(4) as pool:
        leases = list(pool.map(claim, range(4)))

    assert len({None if lease is None else lease.task for lease in leases}) == 1
    assert lab.value("SELECT count(*) FROM task WHERE state = 'leased'") == 1


def test_a_worker_holds_no_more_tasks_than_it_has_slots(lab: Lab) -> None:
    lab.submit(phases=[{"epochs": 1, "trials": 5}])
    worker = lab.worker(slots=2)
    lab.plan()

    leases = [lab.lease(worker) for _ in range(3)]

    assert [lease is not None for lease in leases] == [True, True, False]


def test_a_task_goes_only_to_a_worker_that_holds_its_data(lab: Lab) -> None:
    lab.submit()
    lab.worker()
    stranger = lab.worker(dataset=Dataset("other", "e" * 64, (1, 8, 8), 10, 100, 10))
    lab.plan()
    assert lab.lease(stranger) is None


def test_nobody_leases_without_registering(lab: Lab) -> None:
    with pytest.raises(NotFound):
        lab.lease(uuid4())


def test_claims_go_round_the_experiments_and_priority_goes_first(lab: Lab) -> None:
    slow = lab.submit(phases=[{"epochs": 1, "trials": 4}])
    other = lab.submit(phases=[{"epochs": 2, "trials": 4}])
    worker = lab.worker(slots=20)
    lab.plan()

    def epochs(count: int) -> list[int]:
        return [lab.take(worker).work.epochs for _ in range(count)]

    assert epochs(4) == [1, 2, 1, 2]
    urgent = lab.submit(phases=[{"epochs": 3, "trials": 2}], priority=5)
    lab.plan()
    assert epochs(4) == [3, 3, 1, 2]
    assert len({slow, other, urgent}) == 3


def test_a_result_is_accepted_once_and_may_be_repeated(lab: Lab, lease: LeasedTask) -> None:
    assert lab.finish(lease).repeated is False
    assert lab.finish(lease).repeated is True
    with pytest.raises(ResultConflict):
        lab.finish(lease, accuracy=0.123)
    assert lab.value("SELECT count(*) FROM result") == 1


def test_the_same_result_sent_twice_at_once_counts_once(lab: Lab, lease: LeasedTask) -> None:
    payload, start = lab.outcome(lease), Barrier(4)

    def send(_: int) -> bool:
        start.wait()
        return record_result(lab.store, lease.task, lease.attempt, payload).repeated

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(send, range(4))) == [False, True, True, True]


WRITES: dict[str, Callable[[Lab, LeasedTask], object]] = {
    "heartbeat": renew,
    "result": lambda lab, lease: lab.finish(lease),
    "failure": fail,
    "release": lambda lab, lease: release_task(lab.store, lease.task, lease.attempt),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_superseded_attempt_can_write_nothing(
    lab: Lab, worker: UUID, lease: LeasedTask, write: Callable[[Lab, LeasedTask], object]
) -> None:
    lab.expire(lease)
    assert reap(lab) == 1
    again = lab.take(worker)
    while again.task != lease.task:
        again = lab.take(worker)
    assert again.attempt == 2
    tables = "SELECT state, attempt, worker_id, lease_expires_at, strikes FROM task WHERE id = :id"
    before = lab.rows(tables, id=lease.task)

    with pytest.raises(LeaseLost):
        write(lab, lease)

    assert lab.rows(tables, id=lease.task) == before
    assert lab.finish(again).repeated is False
    with pytest.raises(LeaseLost):
        write(lab, lease)


def test_a_lost_attempt_took_as_long_as_its_worker_was_heard_of(lab: Lab, worker: UUID, lease: LeasedTask) -> None:
    """Searches pay for their seconds, and none for an outage that went on all night."""
    lab.run("UPDATE attempt SET started_at = now() - interval '9 hours'")
    lab.run("UPDATE worker SET last_seen_at = now() - interval '530 minutes' WHERE id = :id", id=worker)
    lab.expire(lease)
    reap(lab)
    assert lab.value("SELECT seconds FROM attempt") == pytest.approx(600, abs=60)
    renew(lab, lease)
    assert lab.value("SELECT seconds FROM attempt") is None, "it goes on"


@pytest.mark.parametrize("reaped", [False, True])
def test_a_late_result_counts_as_long_as_nobody_else_has_the_task(lab: Lab, lease: LeasedTask, reaped: bool) -> None:
    lab.expire(lease)
    if reaped:
        reap(lab)
    assert lab.finish(lease).repeated is False
    assert lab.rows(OUTCOMES) == [("accepted",)]


def test_a_late_heartbeat_takes_the_task_up_again_and_its_strike_back(lab: Lab, lease: LeasedTask) -> None:
    lab.expire(lease)
    reap(lab)
    assert lab.rows("SELECT state, strikes FROM task WHERE id = :id", id=lease.task) == [("ready", 1)]

    assert renew(lab, lease).command is Command.CONTINUE

    assert lab.rows("SELECT state, strikes FROM task WHERE id = :id", id=lease.task) == [("leased", 0)]
    assert lab.rows(OUTCOMES) == [(None,)]
    assert lab.finish(lease).repeated is False


def taken_again(lab: Lab, worker: UUID, lease: LeasedTask) -> LeasedTask:
    """The task's next attempt, after a lease that ran out and left a strike."""
    lab.run("UPDATE task SET not_before = now() + interval '1 hour' WHERE id <> :id", id=lease.task)
    lab.expire(lease)
    reap(lab)
    return lab.take(worker)


GOODBYES: dict[str, tuple[Callable[[Lab, LeasedTask], object], str]] = {
    "release": (WRITES["release"], "released"),
    "preempted": (lambda lab, lease: fail(lab, lease, FailureReason.PREEMPTED), "failed"),
}


@pytest.mark.parametrize(("stop", "outcome"), GOODBYES.values(), ids=GOODBYES)
def test_a_late_stop_in_good_order_takes_its_strike_back(
    lab: Lab, worker: UUID, lease: LeasedTask, stop: Callable[[Lab, LeasedTask], object], outcome: str
) -> None:
    # Another one's strike stays.
    lease = taken_again(lab, worker, lease)
    lab.expire(lease)
    reap(lab)
    assert lab.rows("SELECT state, strikes FROM task WHERE id = :id", id=lease.task) == [("ready", 2)]

    for _ in range(2):
        stop(lab, lease)
        assert lab.rows("SELECT state, strikes FROM task WHERE id = :id", id=lease.task) == [("ready", 1)]
        assert lab.rows(OUTCOMES) == [("lost",), (outcome,)]
    with pytest.raises(LeaseLost):
        renew(lab, lease)
    assert lab.take(worker).attempt == 3
    with pytest.raises(LeaseLost):
        stop(lab, lease)


@pytest.mark.parametrize(("stop", "outcome"), GOODBYES.values(), ids=GOODBYES)
def test_a_late_stop_after_an_outage_takes_back_no_strike_of_others(
    lab: Lab, worker: UUID, lease: LeasedTask, stop: Callable[[Lab, LeasedTask], object], outcome: str
) -> None:
    lease = taken_again(lab, worker, lease)
    granted_and_run_out(lab)
    assert reap(lab) == 1
    stop(lab, lease)
    assert lab.rows("SELECT state, strikes FROM task WHERE id = :id", id=lease.task) == [("ready", 1)]
    assert lab.rows(OUTCOMES) == [("lost",), (outcome,)]


def test_a_late_crash_keeps_its_strike(lab: Lab, lease: LeasedTask) -> None:
    lab.expire(lease)
    reap(lab)
    assert fail(lab, lease).state is TaskState.READY
    assert lab.value("SELECT strikes FROM task WHERE id = :id", id=lease.task) == 1
    assert lab.rows(OUTCOMES) == [("lost",)]


def test_a_heartbeat_extends_the_lease_and_keeps_measurements(lab: Lab, lease: LeasedTask) -> None:
    lab.expire(lease)
    answer = renew(lab, lease, Measurement(10, 0.5, 0.3), Measurement(10, 0.5, 0.4), Measurement(20, 1.0, 0.5))
    renew(lab, lease, Measurement(20, 1.0, 0.6))

    assert reap(lab) == 0
    assert answer.command is Command.CONTINUE
    assert lab.rows("SELECT step, value FROM report ORDER BY step") == [(10, 0.4), (20, 0.6)]


def test_three_strikes_make_a_dead_letter_and_end_the_trial(lab: Lab, worker: UUID, lease: LeasedTask) -> None:
    for strike in range(1, STRIKES + 1):
        lab.expire(lease)
        assert reap(lab) == 1
        (row,) = lab.rows("SELECT state, strikes, attempt FROM task WHERE id = :id", id=lease.task)
        assert row == ("failed" if strike == STRIKES else "ready", strike, strike)
        if strike < STRIKES:
            lab.run("UPDATE task SET not_before = now() + interval '1 hour' WHERE id <> :id", id=lease.task)
            lease = lab.take(worker)
    assert lab.rows("SELECT state, failure FROM trial WHERE ordinal = 0") == [("failed", "lost")]


def test_a_crash_rests_before_it_is_tried_again(lab: Lab, lease: LeasedTask) -> None:
    assert fail(lab, lease).state is TaskState.READY
    assert fail(lab, lease).state is TaskState.READY
    assert lab.rows("SELECT strikes, not_before > now() FROM task WHERE id = :id", id=lease.task) == [(1, True)]
    assert lab.rows("SELECT outcome, reason, message, seconds FROM attempt") == [("failed", "crashed", "it broke", 1.5)]


@pytest.mark.parametrize("reason", sorted(FailureReason.final()))
def test_what_would_fail_again_ends_the_trial_at_once(lab: Lab, lease: LeasedTask, reason: FailureReason) -> None:
    assert fail(lab, lease, reason).state is TaskState.FAILED
    assert lab.rows("SELECT state, failure FROM trial WHERE ordinal = 0") == [("failed", f"{reason}: it broke")]


def test_preemption_release_and_goodbye_are_no_strikes(lab: Lab, worker: UUID, lease: LeasedTask) -> None:
    lab.run("UPDATE task SET not_before = now() + interval '1 hour' WHERE id <> :id", id=lease.task)
    fail(lab, lease, FailureReason.PREEMPTED)
    assert lab.lease(worker) is None, "nobody could do it just now"
    lab.run("UPDATE task SET not_before = now() WHERE id = :id", id=lease.task)
    lease = lab.take(worker)
    release_task(lab.store, lease.task, lease.attempt)
    release_task(lab.store, lease.task, lease.attempt)
    lease = lab.take(worker)
    depart_worker(lab.store, worker)
    depart_worker(lab.store, worker)

    # A request that was still waiting when its worker said goodbye leases nothing.
    assert lab.lease(worker) is None
    again = lab.take(lab.worker())

    assert (again.task, again.attempt) == (lease.task, 4)
    assert lab.value("SELECT strikes FROM task WHERE id = :id", id=lease.task) == 0
    assert lab.rows(OUTCOMES) == [("failed",), ("released",), ("released",), (None,)]


def test_an_outage_of_the_server_costs_no_lease(lab: Lab, lease: LeasedTask) -> None:
    lab.expire(lease)
    lab.run("UPDATE server_heartbeat SET beat_at = now() - interval '10 minutes' WHERE name = 'reaper'")

    assert reap(lab) == 0
    assert reap(lab) == 0
    assert lab.value("SELECT lease_expires_at > now() + interval '40 s' FROM task WHERE id = :id", id=lease.task)
    lab.expire(lease)
    assert reap(lab) == 1


def granted_and_run_out(lab: Lab) -> None:
    """An outage, the term that everybody gets after it, and its end without a word from the worker."""
    lab.run("UPDATE server_heartbeat SET beat_at = now() - interval '10 minutes' WHERE name = 'reaper'")
    assert reap_leases(lab.store, 0.01, STRIKES, outage_seconds=LEASE) == 0
    while not lab.value("SELECT bool_and(lease_expires_at < now()) FROM task WHERE state = 'leased'"):
        pass


def test_an_outage_longer_than_a_workers_patience_costs_no_strike(lab: Lab, worker: UUID, lease: LeasedTask) -> None:
    lab.run("UPDATE task SET not_before = now() + interval '1 hour' WHERE id <> :id", id=lease.task)
    for attempt in range(1, STRIKES + 2):
        granted_and_run_out(lab)
        assert reap(lab) == 1
        row = lab.rows("SELECT state, strikes, attempt FROM task WHERE id = :id", id=lease.task)
        assert row == [("ready", 0, attempt)]
        lease = lab.take(worker)
    lab.expire(lease)
    assert reap(lab) == 1
    assert lab.value("SELECT strikes FROM task WHERE id = :id", id=lease.task) == 1
    ended = "SELECT outcome, reason FROM attempt WHERE ended_at IS NOT NULL ORDER BY n"
    assert lab.rows(ended) == [("lost", "outage")] * (STRIKES + 1) + [("lost", "lost")]


def test_a_worker_that_comes_back_after_all_keeps_its_task_and_the_strikes_of_others(
    lab: Lab, worker: UUID, lease: LeasedTask
) -> None:
    lease = taken_again(lab, worker, lease)
    granted_and_run_out(lab)
    assert reap(lab) == 1

    assert renew(lab, lease).command is Command.CONTINUE
    assert lab.rows("SELECT state, strikes FROM task WHERE id = :id", id=lease.task) == [("leased", 1)]
    granted_and_run_out(lab)
    assert reap(lab) == 1
    assert lab.finish(lease).repeated is False
    assert lab.value("SELECT strikes FROM task WHERE id = :id", id=lease.task) == 1


def test_a_worker_that_was_heard_of_after_the_outage_is_lost_like_any_other(lab: Lab, lease: LeasedTask) -> None:
    lab.run("UPDATE server_heartbeat SET beat_at = now() - interval '10 minutes' WHERE name = 'reaper'")
    assert reap(lab) == 0
    renew(lab, lease)
    lab.expire(lease)
    assert reap(lab) == 1
    assert lab.value("SELECT strikes FROM task WHERE id = :id", id=lease.task) == 1
