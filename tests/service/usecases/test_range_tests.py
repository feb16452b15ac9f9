"""A range test before the first trial of a search."""

import pytest

from service.domain.errors import InvalidRequest
from service.domain.leasing import FailureReason
from service.domain.states import ExperimentState, TaskKind
from service.storage import results
from service.storage.tasks import LeasedTask
from service.usecases.control_experiment import cancel_experiment
from service.usecases.look_up import list_trials
from service.usecases.record_failure import record_failure
from service.usecases.record_result import record_result
from tests.service.lab import STRIKES, TREE, Lab

RANGE_TEST = {"range_test": True}


def ranged(lab: Lab, lease: LeasedTask, diverges_from: int) -> None:
    losses = [1.0 if number < diverges_from else None for number, _ in enumerate(lease.work.learning_rates)]
    payload = {"outcome": "ranged", "losses": losses, "total_seconds": 4.0}
    record_result(lab.store, lease.task, lease.attempt, payload)


def fail(lab: Lab, lease: LeasedTask, reason: FailureReason) -> None:
    record_failure(lab.store, lease.task, lease.attempt, reason, STRIKES)


def test_it_comes_before_the_trials_and_bounds_where_they_search(lab: Lab) -> None:
    lab.submit(search=RANGE_TEST)
    worker = lab.worker(slots=4)
    lab.plan()
    lab.plan()
    test = lab.take(worker)
    assert test.kind is TaskKind.RANGE_TEST
    assert lab.lease(worker) is None

    ranged(lab, test, diverges_from=9)
    lab.plan()

    rates = test.work.learning_rates
    assert (rates[0], rates[-1]) == (1e-4, 0.2)
    trials = [lab.take(worker) for _ in range(3)]
    assert {lease.kind for lease in trials} == {TaskKind.TRIAL}
    points = [lease.work.hyperparameters for lease in trials]
    assert all(point is not None and point.learning_rate <= rates[8] for point in points)
    lab.project()
    assert lab.shown[0].space.learning_rate.high == 0.2


def test_every_search_has_one_on_its_own_prefix_and_it_is_charged_to_it(lab: Lab) -> None:
    experiment = lab.submit(TREE, variants=[{"architecture": "B", "learning": "partial"}], search=RANGE_TEST)

    done = lab.drive(experiment, lab.worker())

    tests = [lease for lease in done if lease.kind is TaskKind.RANGE_TEST]
    assert [len(lease.work.prefix) for lease in tests] == [0, 1]
    assert lab.state(experiment) is ExperimentState.FINISHED
    with lab.store.reading() as tx:
        seconds = results.search_seconds(tx, lab.value("SELECT array_agg(id) FROM search"))
    assert set(seconds.values()) == {4.0 + 3 * 3.0}


@pytest.mark.parametrize("reason", [FailureReason.USER_ERROR, FailureReason.MEMORY_LIMIT])
def test_a_failed_one_leaves_the_space_as_it_was(lab: Lab, reason: FailureReason) -> None:
    experiment = lab.submit(search=RANGE_TEST, limits={"memory": "1GiB"})

    def work(lease: LeasedTask) -> None:
        if lease.kind is TaskKind.RANGE_TEST:
            fail(lab, lease, reason)
        else:
            lab.finish(lease)

    done = lab.drive(experiment, lab.worker(), work)

    assert [lease.kind for lease in done].count(TaskKind.RANGE_TEST) == 1
    assert lab.state(experiment) is ExperimentState.FINISHED
    assert lab.value("SELECT space FROM search") is None


def test_a_cancelled_one_is_made_again_while_the_search_lives(lab: Lab) -> None:
    experiment, worker = lab.submit(search=RANGE_TEST), lab.worker()
    lab.plan()
    fail(lab, lab.take(worker), FailureReason.CANCELLED)
    lab.plan()
    lab.take(worker)
    cancel_experiment(lab.store, experiment)
    assert lab.rows("SELECT DISTINCT state FROM task") == [("cancelled",)]


def test_a_result_of_another_form_is_refused(lab: Lab) -> None:
    lab.submit(search=RANGE_TEST)
    lab.plan()
    test = lab.take(lab.worker())
    payload = {"outcome": "ranged", "losses": [1.0], "total_seconds": 4.0}
    with pytest.raises(InvalidRequest, match="1 losses for 16 learning rates"):
        record_result(lab.store, test.task, test.attempt, payload)
    with pytest.raises(InvalidRequest, match="evaluated is no outcome"):
        record_result(lab.store, test.task, test.attempt, {**payload, "outcome": "evaluated"})


def test_an_enqueued_point_is_tried_even_where_the_range_test_diverged(lab: Lab) -> None:
    point = {"learning_rate": 0.1, "regularization": 0.01}
    lab.submit(search={**RANGE_TEST, "enqueue": [point]})
    worker = lab.worker()
    lab.plan()
    ranged(lab, lab.take(worker), diverges_from=3)
    lab.plan()
    lab.finish(lab.take(worker))
    (first, *_) = list_trials(lab.store, lab.value("SELECT id FROM search"))
    assert (first.origin, first.hyperparameters.learning_rate) == ("enqueued", 0.1)
