"""A lease runs out while its holder writes: one of them wins, and the other's view is never half true."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID, uuid4

import pytest

from service.domain.errors import LeaseLost
from service.domain.leasing import FailureReason
from service.storage import tasks, workers
from service.storage.tasks import LeasedTask
from service.usecases.check_attempt import check_attempt
from service.usecases.control_experiment import cancel_experiment
from service.usecases.depart_worker import depart_worker
from service.usecases.reap_leases import reap_leases
from service.usecases.record_failure import record_failure
from service.usecases.release_task import release_task
from service.usecases.renew_lease import renew_lease
from tests.invariants import _in_our_tables
from tests.service.lab import HEARTBEAT, LEASE, STRIKES, Lab, never
from tests.service.usecases.test_snapshots import snap
from tests.service.usecases.test_snapshots import upload as register

ROUNDS = 50


def beat(lab: Lab, lease: LeasedTask) -> object:
    return renew_lease(lab.store, never, lease.task, lease.attempt, LEASE)


def fail(lab: Lab, lease: LeasedTask) -> object:
    return record_failure(lab.store, lease.task, lease.attempt, FailureReason.CRASHED, STRIKES)


def upload(lab: Lab, lease: LeasedTask) -> object:
    """As over HTTP: whether the attempt may is asked before the bytes are taken."""
    check_attempt(lab.store, lease.task, lease.attempt)
    return register(lab, f"{lease.task} {lease.attempt}")


WRITES: dict[str, Callable[[Lab, LeasedTask], object]] = {
    "heartbeat": beat,
    "result": lambda lab, lease: lab.finish(lease),
    "failure": fail,
    "snapshot": lambda lab, lease: snap(lab, lease, f"{lease.task} {lease.attempt}", 0.5),
    "artifact": upload,
    "release": lambda lab, lease: release_task(lab.store, lease.task, lease.attempt),
}


def reap(lab: Lab) -> int:
    return reap_leases(lab.store, LEASE, STRIKES, outage_seconds=LEASE - HEARTBEAT)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_one_of_two_owners_wins(lab: Lab, database_url: str, write: Callable[[Lab, LeasedTask], object]) -> None:
    reap(lab)
    first, second = lab.worker(slots=200), lab.worker(slots=200)
    lab.submit(phases=[{"epochs": 1, "trials": ROUNDS}])
    lab.plan()
    start = Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            lab.run("UPDATE task SET not_before = now(), strikes = 0 WHERE state = 'ready'")
            held = lab.take(first)
            lab.expire(held)

            def late() -> bool:
                start.wait()
                try:
                    write(lab, held)  # noqa: B023
                except LeaseLost:
                    return False
                return True

            def take_over() -> LeasedTask | None:
                start.wait()
                reap(lab)
                return _claim_that(lab, second, held.task)  # noqa: B023

            wrote, other = pool.submit(late), pool.submit(take_over)
            accepted, lease = wrote.result(), other.result()
            if lease is not None:
                # From its claim on nothing of the old attempt counts, whatever was true at the moment before.
                assert lease.attempt == held.attempt + 1
                with pytest.raises(LeaseLost):
                    write(lab, held)
                assert lab.finish(lease).repeated is False
            elif not accepted:
                raise AssertionError("neither got it")
    assert list(_in_our_tables(database_url)) == []


def test_a_goodbye_and_a_heartbeat_at_once_wait_for_each_other(lab: Lab) -> None:
    worker = lab.worker()
    lab.submit()
    lab.plan()
    held = lab.take(worker)
    with ThreadPoolExecutor(1) as pool:
        with lab.store.transaction() as tx:
            # A heartbeat, half-way.
            workers.see_owner(tx, held.task, held.attempt)
            goodbye = pool.submit(depart_worker, lab.store, worker)
            while not lab.rows("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%worker%'"):
                assert not goodbye.done()
            assert tasks.renew(tx, held.task, held.attempt, LEASE, None) is not None
        goodbye.result()
    assert lab.rows("SELECT state, strikes FROM task WHERE id = :id", id=held.task) == [("ready", 0)]
    assert lab.rows("SELECT outcome FROM attempt") == [("released",)]


def test_a_claim_that_a_cancellation_waits_for_is_ended_with_its_attempt(lab: Lab, database_url: str) -> None:
    worker = lab.worker()
    experiment = lab.submit()
    lab.plan()
    with ThreadPoolExecutor(1) as pool:
        with lab.store.transaction() as tx:
            # A claim, half-way: nobody else sees its attempt yet.
            lease = tasks.claim(tx, worker, uuid4(), LEASE)
            assert lease is not None
            cancelling = pool.submit(cancel_experiment, lab.store, experiment)
            while not lab.rows("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%task%'"):
                assert not cancelling.done()
        cancelling.result()
    assert lab.rows("SELECT state FROM task WHERE id = :id", id=lease.task) == [("cancelled",)]
    assert lab.rows("SELECT outcome FROM attempt") == [("cancelled",)]
    assert list(_in_our_tables(database_url)) == []


def _claim_that(lab: Lab, worker: UUID, task: UUID) -> LeasedTask | None:
    """The task, if it can be had now; others are kept from being taken in its place."""
    lab.run("UPDATE task SET not_before = now() + interval '1 hour' WHERE state = 'ready' AND id <> :id", id=task)
    return lab.lease(worker)
