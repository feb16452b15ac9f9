"""The connection breaks after COMMIT was sent and before its answer: nobody knows, and repeating the call is right."""

import os
import socket
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event

from service.domain.errors import DatabaseUnavailable
from service.domain.leasing import FailureReason
from service.domain.states import ExperimentState
from service.storage import Storage
from service.storage.results import Measurement
from service.storage.tasks import LeasedTask
from service.usecases.record_failure import record_failure
from service.usecases.record_result import record_result
from service.usecases.release_task import release_task
from service.usecases.renew_lease import Command, renew_lease
from service.usecases.retry_experiment import retry_experiment
from tests.invariants import _in_our_tables
from tests.service.lab import LEASE, STRIKES, Lab, never

ROUNDS = 6


class Scissors:
    """Cuts the connection of the next commit as soon as the server has it."""

    def __init__(self, store: Storage) -> None:
        self.open = False
        event.listen(store.engine, "commit", self._commit)

    def _commit(self, connection: Any) -> None:
        if self.open:
            self.open = False
            raw = connection.connection.dbapi_connection
            raw.cursor().execute("COMMIT")
            with socket.socket(fileno=os.dup(raw.fileno())) as cut:
                cut.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def twice(lab: Lab) -> Callable[[Callable[[], Any]], Any]:
    """Makes a call whose first answer is lost."""
    scissors = Scissors(lab.store)

    def call(what: Callable[[], Any]) -> Any:
        scissors.open = True
        with pytest.raises(DatabaseUnavailable):
            what()
        assert not scissors.open
        return what()

    return call


def test_every_write_may_be_repeated(lab: Lab, twice: Callable[[Callable[[], Any]], Any], database_url: str) -> None:
    worker = lab.worker()
    experiment = twice(lambda: lab.submit(key="once", phases=[{"epochs": 1, "trials": ROUNDS}]))
    assert lab.value("SELECT count(*) FROM experiment") == 1
    for number in range(ROUNDS):
        twice(lab.plan)
        lease: LeasedTask = _claim(lab, twice, worker)
        measured = [Measurement(1, 0.5, 0.25)]
        beat = twice(lambda: renew_lease(lab.store, never, lease.task, lease.attempt, LEASE, measured))  # noqa: B023
        assert beat.command is Command.CONTINUE
        twice(lambda: release_task(lab.store, lease.task, lease.attempt))  # noqa: B023
        lease = _claim(lab, twice, worker)
        assert (lease.attempt, lab.value("SELECT strikes FROM task WHERE id = :id", id=lease.task)) == (2, 0)
        reason = FailureReason.USER_ERROR if number % 2 else FailureReason.CRASHED
        failed = twice(lambda: record_failure(lab.store, lease.task, lease.attempt, reason, STRIKES))  # noqa: B023
        assert lab.value("SELECT strikes FROM task WHERE id = :id", id=lease.task) == (0 if number % 2 else 1)
        if failed.state == "failed":
            twice(lambda: retry_experiment(lab.store, experiment))
        lab.run("UPDATE task SET not_before = now()")
        lease = _claim(lab, twice, worker)
        assert lease.attempt == 3
        payload = lab.outcome(lease)
        assert twice(lambda: record_result(lab.store, lease.task, lease.attempt, payload)).repeated  # noqa: B023
    assert lab.drive(experiment, worker)
    assert lab.state(experiment) is ExperimentState.FINISHED
    assert lab.value("SELECT count(*) FROM result") == ROUNDS + 1
    assert lab.value("SELECT count(*) FROM trial") == ROUNDS
    assert list(_in_our_tables(database_url)) == []


def _claim(lab: Lab, twice: Callable[[Callable[[], Any]], Any], worker: UUID) -> LeasedTask:
    request = uuid4()
    lease: LeasedTask | None = twice(lambda: lab.lease(worker, request))
    assert lease is not None
    return lease
