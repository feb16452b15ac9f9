"""What attempts measure: kept by step, in any order, and not without end."""

import pytest

from service.storage.results import Measurement
from service.storage.tasks import LeasedTask
from service.usecases.renew_lease import Command, renew_lease
from tests.service.lab import LEASE, Lab, never


def test_an_attempt_measures_so_much_and_goes_on(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.storage.results.MOST", 6)
    worker = lab.worker(slots=4)
    lab.submit()
    lab.plan()
    lease = lab.take(worker)

    def send(lease: LeasedTask, *steps: int, value: float = 0.5) -> None:
        measured = [Measurement(step, 1.0, value) for step in steps]
        renewal = renew_lease(lab.store, never, lease.task, lease.attempt, LEASE, measured)
        assert renewal.command is Command.CONTINUE

    def kept() -> dict[int, float]:
        return {row.step: row.value for row in lab.rows("SELECT step, value FROM report ORDER BY step")}

    send(lease, 1, 2, 3, 4)
    send(lease, 9, 4, 8, 7, value=0.6)
    assert kept() == {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.6, 8: 0.6, 9: 0.6}
    send(lease, 11, 12)
    send(lease, 1, 12, value=0.7)
    assert kept() == {1: 0.7, 2: 0.5, 3: 0.5, 4: 0.6, 8: 0.6, 9: 0.6}
    # Its result counts; another attempt has room of its own.
    lab.finish(lease)
    other = lab.take(worker)
    send(other, *range(6), value=0.1)
    assert lab.value("SELECT count(*) FROM report WHERE value = 0.1") == 6
