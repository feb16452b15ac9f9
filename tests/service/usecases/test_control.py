"""Pause, resume and cancel, alone and with other experiments on the same searches."""

import pytest

from service.domain.errors import Conflict, LeaseLost
from service.domain.leasing import FailureReason
from service.domain.states import ExperimentState, TaskKind
from service.storage.tasks import LeasedTask
from service.usecases.control_experiment import cancel_experiment, pause_experiment, resume_experiment
from service.usecases.record_failure import record_failure
from service.usecases.release_task import release_task
from service.usecases.renew_lease import Command, renew_lease
from tests.service.lab import LEASE, STRIKES, Lab, never


def command(lab: Lab, lease: LeasedTask) -> Command:
    return renew_lease(lab.store, never, lease.task, lease.attempt, LEASE).command


def test_a_paused_experiment_is_not_leased_and_goes_on_where_it_was(lab: Lab) -> None:
    experiment, worker = lab.submit(), lab.worker(slots=2)
    lab.plan()
    lease = lab.take(worker)

    pause_experiment(lab.store, experiment)
    pause_experiment(lab.store, experiment)

    assert lab.lease(worker) is None
    assert command(lab, lease) is Command.PAUSE
    release_task(lab.store, lease.task, lease.attempt)
    resume_experiment(lab.store, experiment)
    assert lab.take(worker).task == lease.task


def test_cancelling_ends_everything_nobody_else_wants(lab: Lab) -> None:
    experiment, worker = lab.submit(), lab.worker(slots=2)
    lab.plan()
    lease = lab.take(worker)

    cancel_experiment(lab.store, experiment)
    cancel_experiment(lab.store, experiment)

    assert lab.state(experiment) is ExperimentState.CANCELLED
    assert command(lab, lease) is Command.CANCEL
    with pytest.raises(LeaseLost):
        lab.finish(lease)
    failure = record_failure(lab.store, lease.task, lease.attempt, FailureReason.CANCELLED, STRIKES)
    assert failure.state == "cancelled"
    release_task(lab.store, lease.task, lease.attempt)
    for table in ("search", "trial", "task"):
        assert lab.rows(f"SELECT DISTINCT state FROM {table}") == [("cancelled",)]
    assert lab.lease(worker) is None


def test_cancelling_one_experiment_never_stops_another(lab: Lab) -> None:
    first, worker = lab.submit(seeds=[0, 1, 2]), lab.worker()
    lab.plan()
    second = lab.submit(seeds=[0, 1])
    lease = lab.take(worker)

    cancel_experiment(lab.store, first)

    assert command(lab, lease) is Command.CONTINUE
    lab.finish(lease)
    done = lab.drive(second, worker)
    assert lab.state(second) is ExperimentState.FINISHED
    assert [lease.work.seed for lease in done if lease.kind is TaskKind.FIT] == [1]


def test_fits_that_only_the_cancelled_experiment_wanted_go_with_it(lab: Lab) -> None:
    first, worker = lab.submit(seeds=[0, 1]), lab.worker()
    second = lab.submit(seeds=[0])
    for _ in range(3):
        lab.plan()
        lab.finish(lab.take(worker))
    lab.plan()
    assert lab.value("SELECT count(*) FROM task WHERE kind = 'fit' AND state = 'ready'") == 1

    cancel_experiment(lab.store, first)
    lab.drive(second, worker)

    assert lab.rows("SELECT kind, state FROM task WHERE kind <> 'trial' ORDER BY kind") == [
        ("evaluate", "done"),
        ("fit", "cancelled"),
    ]
    third = lab.submit(seeds=[0, 1])
    done = lab.drive(third, worker)
    # The cancelled fit is made again; the search and the first seed's evaluation are taken over.
    assert [(lease.kind, lease.work.seed) for lease in done] == [("fit", 1), ("evaluate", 1)]


def test_an_experiment_that_has_ended_cannot_be_controlled(lab: Lab) -> None:
    experiment = lab.submit()
    cancel_experiment(lab.store, experiment)
    with pytest.raises(Conflict):
        pause_experiment(lab.store, experiment)
    with pytest.raises(Conflict):
        resume_experiment(lab.store, experiment)
