"""An embedding is leased and goes on when its experiment has ended already."""

from uuid import UUID, uuid4

import pytest

from service.domain.errors import InvalidRequest
from service.domain.states import ExperimentState, TaskKind
from service.storage import tasks
from service.storage.tasks import LeasedTask, NewTask
from service.usecases.control_experiment import cancel_experiment
from service.usecases.record_result import record_result
from service.usecases.renew_lease import Command, renew_lease
from tests.service.lab import LEASE, Lab, never


def ask(lab: Lab, tested: LeasedTask) -> None:
    """Want an embedding of the network that was tested."""
    search = lab.value("SELECT search_id FROM task WHERE id = :id", id=tested.task)
    with lab.store.transaction() as tx:
        new = NewTask(uuid4(), TaskKind.EMBED, search, tested.work.seed, "embedding", tested.work)
        tasks.add(tx, [new])


@pytest.fixture
def worker(lab: Lab) -> UUID:
    return lab.worker(slots=2)


def test_it_is_done_for_a_finished_experiment(lab: Lab, worker: UUID) -> None:
    experiment = lab.submit()
    done = lab.drive(experiment, worker)
    ask(lab, done[-1])

    lease = lab.take(worker)

    assert lease.kind is TaskKind.EMBED
    assert renew_lease(lab.store, never, lease.task, lease.attempt, LEASE).command is Command.CONTINUE
    with pytest.raises(InvalidRequest, match="coordinates"):
        record_result(lab.store, lease.task, lease.attempt, lab.outcome(lease) | {"checkpoint": None})
    lab.finish(lease)
    assert lab.state(experiment) is ExperimentState.FINISHED


def test_it_keeps_no_experiment_from_its_end(lab: Lab, worker: UUID) -> None:
    first = lab.submit()
    done = lab.drive(first, worker)
    second = lab.submit(seeds=[0, 7])
    ask(lab, done[-1])
    lab.drive(second, worker, lambda lease: None if lease.kind is TaskKind.EMBED else lab.finish(lease))
    assert lab.state(second) is ExperimentState.FINISHED


def test_it_goes_with_a_cancelled_experiment_that_nobody_shares(lab: Lab, worker: UUID) -> None:
    first = lab.submit(seeds=[0])
    tested = lab.drive(first, worker)[-1]
    second = lab.submit(seeds=[0, 7])
    lab.plan()
    ask(lab, tested)
    cancel_experiment(lab.store, second)
    # The first experiment has finished and is still shown.
    lease = lab.take(worker)
    assert (lease.kind, lab.value("SELECT state FROM task WHERE kind = 'fit'")) == (TaskKind.EMBED, "cancelled")

    lab.run("UPDATE experiment SET state = 'cancelled' WHERE id = :id", id=first)

    assert renew_lease(lab.store, never, lease.task, lease.attempt, LEASE).command is Command.PAUSE
