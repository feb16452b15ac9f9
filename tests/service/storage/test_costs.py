"""What searches cost, from the attempts of their tasks."""

from service.domain.leasing import FailureReason
from service.domain.states import TrialOrigin, TrialState
from service.storage import costs
from service.usecases.record_failure import record_failure
from tests.service.lab import STRIKES, Lab


def test_a_failed_attempt_costs_its_seconds_too_and_trials_stand_in_their_order(lab: Lab) -> None:
    experiment = lab.submit(search={"enqueue": [{"learning_rate": 0.01, "regularization": 0.001}]})
    worker = lab.worker()
    lab.plan()
    broken = lab.take(worker)
    record_failure(lab.store, broken.task, broken.attempt, FailureReason.USER_ERROR, STRIKES, message="no", seconds=7.0)
    lab.drive(experiment, worker)

    search = lab.value("SELECT id FROM search")
    with lab.store.reading() as tx:
        rows = costs.tried(tx, [search])[search]
        others = costs.others(tx, [search])

    assert [(row.tried.state, row.tried.seconds) for row in rows] == [
        (TrialState.FAILED, 7.0),
        (TrialState.COMPLETE, 3.0),
        (TrialState.COMPLETE, 3.0),
    ]
    assert rows[0].tried.origin is TrialOrigin.ENQUEUED
    assert rows[0].tried.failure == "user-error: no"
    best = max(rows[1:], key=lambda row: row.tried.value or 0.0)
    assert [row.chosen for row in rows] == [row is best for row in rows]
    assert others == []


def test_fits_are_told_apart_by_seed_with_their_end(lab: Lab) -> None:
    experiment = lab.submit(seeds=[0, 7, 9])
    lab.drive(experiment, lab.worker())

    search = lab.value("SELECT id FROM search")
    with lab.store.reading() as tx:
        others = costs.others(tx, [search])

    assert sorted((cost.kind, cost.seed, cost.confirms, cost.seconds) for cost in others) == [
        ("fit", 7, False, 3.0),
        ("fit", 9, False, 3.0),
    ]
    assert all(cost.finished_at is not None for cost in others)
