"""A search that may spend the seconds of others."""

from typing import Any
from uuid import UUID

from service.domain.leasing import FailureReason
from service.domain.states import ExperimentState
from service.storage.tasks import LeasedTask
from service.usecases.build_report import build_report
from service.usecases.look_up import get_experiment
from service.usecases.record_failure import record_failure
from service.usecases.record_result import record_result
from tests.service.lab import STRIKES, TREE, Lab

PARTIAL = {"architecture": "B", "learning": "partial"}
EQUAL = {"architecture": "B", "learning": "total", "budget": "seconds"}
SPENDER = "SELECT * FROM search WHERE cardinality(match_ids) > 0"


def submit(lab: Lab, **more: Any) -> UUID:
    return lab.submit(TREE, variants=[PARTIAL, EQUAL], **more)


def spends(lease: LeasedTask) -> bool:
    return len(lease.work.stage.layers) == 3


def test_it_opens_with_what_the_others_took_and_ends_when_that_is_spent(lab: Lab) -> None:
    experiment = submit(lab)

    done = lab.drive(experiment, lab.worker())

    (row,) = lab.rows(SPENDER)
    assert (row.state, row.seconds, row.budget) == ("decided", 2 * 3 * 3.0, 30)
    # A trial takes three seconds: six of them spend eighteen.
    assert [spends(lease) for lease in done].count(True) == 6 + 1
    assert lab.state(experiment) is ExperimentState.FINISHED


def test_it_waits_for_all_of_them(lab: Lab) -> None:
    submit(lab)
    worker = lab.worker()
    for _ in range(5):
        lab.plan()
        lab.finish(lab.take(worker))
    lab.plan()
    assert lab.rows(SPENDER)[0].state == "waiting"
    lab.finish(lab.take(worker))
    lab.plan()
    assert lab.rows(SPENDER)[0].state == "open"


def test_failed_attempts_and_range_tests_are_spent_as_well(lab: Lab) -> None:
    experiment = submit(lab, search={"range_test": True})
    failed: list[LeasedTask] = []

    def work(lease: LeasedTask) -> None:
        if not failed and lease.kind == "trial":
            failed.append(lease)
            record_failure(lab.store, lease.task, lease.attempt, FailureReason.PREEMPTED, STRIKES, seconds=10.0)
            lab.run("UPDATE task SET not_before = now() WHERE id = :id", id=lease.task)
        else:
            lab.finish(lease)

    lab.drive(experiment, lab.worker(), work)

    assert lab.rows(SPENDER)[0].seconds == 2 * (4.0 + 3 * 3.0) + 10.0


def test_a_trial_that_goes_on_has_spent_nothing_yet(lab: Lab) -> None:
    experiment, worker = submit(lab), lab.worker()
    lab.plan()
    while not spends(lease := lab.take(worker)):
        lab.finish(lease)
        lab.plan()

    lab.plan()

    assert lab.rows(SPENDER)[0].state == "open"
    assert build_report(lab.store, experiment).search_seconds == 2 * 3 * 3.0


def test_it_has_a_trial_even_without_any_seconds(lab: Lab) -> None:
    experiment = submit(lab)

    def work(lease: LeasedTask) -> None:
        payload = lab.outcome(lease)
        record_result(lab.store, lease.task, lease.attempt, payload | {"total_seconds": 1.0 if spends(lease) else 0.0})

    done = lab.drive(experiment, lab.worker(slots=4), work)

    assert lab.rows(SPENDER)[0].seconds == 0.0
    assert [lease.kind for lease in done if spends(lease)] == ["trial", "evaluate"]


def test_trials_that_it_will_not_ask_for_are_not_missing(lab: Lab) -> None:
    experiment = submit(lab)
    lab.drive(experiment, lab.worker())
    view = get_experiment(lab.store, experiment)
    assert (view.trials, view.trials_finished) == (12, 12)
    assert [search.trials for search in view.stage_searches] == [3, 3, 6]


def test_a_path_that_died_leaves_the_seconds_it_took(lab: Lab) -> None:
    experiment = submit(lab)
    lab.drive(
        experiment, lab.worker(), lambda lease: lab.finish(lease, 0.5, "complete" if spends(lease) else "diverged")
    )
    assert lab.state(experiment) is ExperimentState.FINISHED
    assert lab.rows(SPENDER)[0].seconds == 3 * 3.0


def test_a_large_fleet_does_not_spend_the_seconds_before_the_first_trial_tells_its_cost(lab: Lab) -> None:
    experiment = submit(lab)
    workers = [lab.worker(slots=4) for _ in range(4)]
    pending: list[int] = []
    while lab.state(experiment) is ExperimentState.RUNNING:
        lab.plan()
        lab.plan()
        leases = [lease for worker in workers for _ in range(4) if (lease := lab.lease(worker)) is not None]
        if any(spends(lease) and lease.kind == "trial" for lease in leases):
            pending.append(len(leases))
        for lease in leases:
            lab.finish(lease)

    (row,) = lab.rows(SPENDER)
    # Three seconds a trial: eighteen are spent by six, of which the first is alone and the next wait for what it says.
    assert (row.state, pending) == ("decided", [1, 1, 2, 2])


def test_a_submission_after_failures_spends_the_seconds_of_its_own_partial(lab: Lab) -> None:
    worker = lab.worker()

    def work(lease: LeasedTask) -> None:
        if spends(lease):
            lab.finish(lease)
        else:
            record_failure(lab.store, lease.task, lease.attempt, FailureReason.USER_ERROR, STRIKES, seconds=1.0)

    lab.drive(submit(lab), worker, work)
    assert [(row.state, row.seconds) for row in lab.rows(SPENDER)] == [("decided", 3 * 1.0)]

    again = submit(lab)
    lab.drive(again, worker)

    total = next(line for line in build_report(lab.store, again).variants if line.learning == "total")
    assert (total.allowed_seconds, total.trials) == (2 * 3 * 3.0, 6)
    assert not any(search.reused for search in get_experiment(lab.store, again).stage_searches)
    # Which stands on what was decided then, and is taken over with it.
    third = submit(lab)
    assert lab.drive(third, worker) == []
    assert build_report(lab.store, third).reused_searches == 3
