"""Draining: a worker hears it at its next heartbeat or claim, and nothing counts against what it hands back."""

from uuid import uuid4

import pytest

from service.domain.errors import Draining, NotFound
from service.storage.results import Measurement
from service.usecases.control_experiment import pause_experiment
from service.usecases.drain_worker import drain_worker
from service.usecases.list_workers import list_workers
from service.usecases.release_task import release_task
from service.usecases.renew_lease import Command, renew_lease
from tests.service.lab import LEASE, Lab, never


def test_a_draining_worker_hands_back_and_gets_nothing_more(lab: Lab) -> None:
    experiment, worker = lab.submit(), lab.worker(slots=2)
    lab.plan()
    request = uuid4()
    lease = lab.lease(worker, request)
    assert lease is not None

    assert drain_worker(lab.store, worker, LEASE).state == "draining"
    drain_worker(lab.store, worker, LEASE)

    with pytest.raises(Draining):
        lab.lease(worker)
    # A claim whose answer was lost still finds its lease, or the task would wait for its end.
    again = lab.lease(worker, request)
    assert again is not None
    assert (again.task, again.attempt) == (lease.task, lease.attempt)
    measured = Measurement(10, 0.5, 0.25)
    answer = renew_lease(lab.store, never, lease.task, lease.attempt, LEASE, [measured])
    assert answer.command is Command.DRAIN
    assert lab.value("SELECT count(*) FROM report") == 1
    pause_experiment(lab.store, experiment)
    assert renew_lease(lab.store, never, lease.task, lease.attempt, LEASE).command is Command.DRAIN
    release_task(lab.store, lease.task, lease.attempt)
    assert lab.value("SELECT strikes FROM task WHERE id = :id", id=lease.task) == 0


def test_nothing_is_suggested_for_workers_that_leave(lab: Lab) -> None:
    lab.submit(phases=[{"epochs": 1, "trials": 9}])
    worker = lab.worker(slots=3)
    drain_worker(lab.store, worker, LEASE)
    lab.plan()
    assert lab.value("SELECT count(*) FROM trial") == 0

    assert drain_worker(lab.store, worker, LEASE, draining=False).state == "online"
    lab.plan()
    assert lab.lease(worker) is not None
    assert [view.state for view in list_workers(lab.store, LEASE)] == ["online"]


def test_an_unknown_worker_cannot_be_drained(lab: Lab) -> None:
    with pytest.raises(NotFound):
        drain_worker(lab.store, uuid4(), LEASE)
