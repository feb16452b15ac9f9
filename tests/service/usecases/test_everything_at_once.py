"""Workers that finish, fail, hand back and fall silent, a planner, a reaper and a cancellation at the same time."""

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from service.domain.errors import Conflict, LeaseLost
from service.domain.leasing import FailureReason
from service.domain.states import ExperimentState
from service.usecases.control_experiment import cancel_experiment
from service.usecases.depart_worker import depart_worker
from service.usecases.reap_leases import reap_leases
from service.usecases.record_failure import record_failure
from service.usecases.release_task import release_task
from service.usecases.renew_lease import renew_lease
from tests.service.lab import LEASE, TREE, Lab, never

PATIENCE = 1000
WORKERS = 6


@pytest.mark.parametrize("search", [{}, {"range_test": True, "second_round": 4, "confirm_seeds": 2}])
def test_every_task_ends_once(lab: Lab, search: dict[str, Any]) -> None:
    """Any deadlock would surface as an error of the database."""
    kept = lab.submit(TREE, seeds=[0, 1], phases=[{"epochs": 1, "trials": 8}], search=search)
    shared = lab.submit(TREE, seeds=[0, 2], phases=[{"epochs": 1, "trials": 8}], search=search)
    over = Event()

    def work(number: int) -> None:
        chance, worker = random.Random(number), lab.worker(slots=2)
        while not over.is_set():
            lease = lab.lease(worker)
            if lease is None:
                over.wait(0.01)
                continue
            try:
                renew_lease(lab.store, never, lease.task, lease.attempt, LEASE, fraction=0.5)
                match chance.randrange(9):
                    case 0:
                        record_failure(lab.store, lease.task, lease.attempt, FailureReason.PREEMPTED, PATIENCE)
                        lab.run("UPDATE task SET not_before = now() WHERE id = :id", id=lease.task)
                    case 1:
                        release_task(lab.store, lease.task, lease.attempt)
                    case 2:
                        depart_worker(lab.store, worker)
                        worker = lab.worker(slots=2)
                    case 3:
                        lab.expire(lease)
                        lab.finish(lease)
                    case 4:
                        lab.finish(lease)
                        lab.finish(lease)
                    case _:
                        lab.finish(lease)
            except (LeaseLost, Conflict):
                continue

    def reap() -> None:
        while not over.wait(0.01):
            reap_leases(lab.store, LEASE, PATIENCE, outage_seconds=60)

    def plan() -> None:
        try:
            for _ in range(2000):
                lab.plan()
                if lab.value("SELECT count(*) FROM result") > 8:
                    cancel_experiment(lab.store, shared)
                if lab.state(kept) is not ExperimentState.RUNNING:
                    return
                over.wait(0.005)
        finally:
            over.set()

    reap_leases(lab.store, LEASE, PATIENCE, outage_seconds=60)
    with ThreadPoolExecutor(WORKERS + 2) as pool:
        running = [pool.submit(work, number) for number in range(WORKERS)] + [pool.submit(reap), pool.submit(plan)]
        for thread in running:
            thread.result()

    assert lab.state(kept) is ExperimentState.FINISHED
    assert lab.rows("SELECT DISTINCT state FROM trial") == [("complete",)]
    assert lab.rows("SELECT state, count(*) FROM search GROUP BY state") == [("decided", 3)]
    # One accepted attempt for every task that is done, and it is the last one.
    assert lab.value("SELECT count(*) FROM result") == lab.value("SELECT count(*) FROM task WHERE state = 'done'")
    assert lab.value("SELECT count(*) FROM attempt WHERE outcome = 'accepted'") == lab.value(
        "SELECT count(*) FROM result"
    )
    assert lab.value("SELECT count(*) FROM result r JOIN task t ON t.id = r.task_id WHERE r.attempt <> t.attempt") == 0
    assert lab.rows("SELECT DISTINCT state FROM task WHERE state NOT IN ('done', 'cancelled')") == []
    gaps = "SELECT count(*) FROM (SELECT task_id FROM attempt GROUP BY task_id HAVING max(n) <> count(*)) broken"
    assert lab.value(gaps) == 0
