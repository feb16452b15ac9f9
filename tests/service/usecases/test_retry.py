"""Another chance for what failed, and only where it can still be used."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from service.domain.errors import Conflict, NotFound, TooManyExperiments
from service.domain.leasing import FailureReason
from service.domain.projection import ProjectedStudy
from service.domain.states import ExperimentState, TaskKind
from service.storage import snapshots
from service.storage.snapshots import Snapshot
from service.storage.tasks import LeasedTask
from service.tuning.projection import StudyProjection
from service.usecases.control_experiment import cancel_experiment
from service.usecases.list_failures import list_failures
from service.usecases.project_studies import project_studies
from service.usecases.record_failure import record_failure
from service.usecases.retry_experiment import Retried, retry_experiment
from tests.invariants import violations
from tests.service.lab import STRIKES, TREE, Lab
from tests.service.usecases.test_snapshots import again, snap, strikes, upload

PARTIAL = [{"architecture": "B", "learning": "partial"}]
SEARCHES = "SELECT state FROM search ORDER BY parent_id IS NOT NULL"


def fail(lab: Lab, lease: LeasedTask, reason: FailureReason = FailureReason.USER_ERROR) -> None:
    record_failure(
        lab.store, lease.task, lease.attempt, reason, STRIKES, message="no such file", log="one\ntwo", seconds=1.0
    )


def project(lab: Lab, database_url: str) -> None:
    projection = StudyProjection(database_url)
    project_studies(lab.store, projection.sync)
    projection.close()


def test_a_search_that_died_of_failures_opens_again_with_all_that_waited_for_it(lab: Lab, database_url: str) -> None:
    experiment, worker = lab.submit(TREE, variants=PARTIAL), lab.worker()
    lab.drive(experiment, worker, lambda lease: fail(lab, lease))
    assert lab.state(experiment) is ExperimentState.FAILED
    assert lab.rows(SEARCHES) == [("dead",), ("dead",)]
    project(lab, database_url)
    assert violations(database_url) == []

    assert retry_experiment(lab.store, experiment) == Retried(tasks=3, searches=1)
    assert retry_experiment(lab.store, experiment) == Retried(0, 0)

    assert lab.rows(SEARCHES) == [("open",), ("waiting",)]
    assert lab.state(experiment) is ExperimentState.RUNNING
    project(lab, database_url)
    assert violations(database_url) == []
    done = lab.drive(experiment, worker)
    assert lab.state(experiment) is ExperimentState.FINISHED
    assert [lease.attempt for lease in done] == [2, 2, 2, 1, 1, 1, 1], "numbers go on; nothing is suggested anew"
    project(lab, database_url)
    assert violations(database_url) == []


@pytest.mark.parametrize("collected", [False, True])
def test_what_was_reached_before_a_retry_is_gone_on_from_or_forgotten(lab: Lab, collected: bool) -> None:
    experiment, worker = lab.submit(), lab.worker()
    lab.plan()
    lease = lab.take(worker)
    snap(lab, lease, "far", 0.8)
    fail(lab, lease)
    with lab.store.transaction() as tx:
        snapshots.drop_ended(tx, 0 if collected else 3600)
    assert retry_experiment(lab.store, experiment).tasks == 1

    second = again(lab, lease)
    assert second.snapshot == (None if collected else Snapshot(upload(lab, "far"), 0.8))
    snap(lab, second, "further than its beginning", 0.2 if collected else 0.9)
    fail(lab, second, FailureReason.CRASHED)
    assert strikes(lab, second) == 0


def test_a_snapshot_behind_the_furthest_is_where_progress_begins_after_a_retry(lab: Lab) -> None:
    experiment, worker = lab.submit(), lab.worker()
    lab.plan()
    first = lab.take(worker)
    snap(lab, first, "far", 0.8)
    fail(lab, first, FailureReason.CRASHED)
    second = again(lab, first)
    # It could not use the snapshot and began anew.
    snap(lab, second, "early", 0.3)
    fail(lab, second)
    assert retry_experiment(lab.store, experiment).tasks == 1

    third = again(lab, first)
    assert third.snapshot == Snapshot(upload(lab, "early"), 0.3)
    snap(lab, third, "further", 0.5)
    fail(lab, third, FailureReason.CRASHED)
    assert strikes(lab, third) == 0


def test_a_retry_opens_no_more_experiments_than_may_be(lab: Lab) -> None:
    experiment, worker = lab.submit(), lab.worker()
    lab.drive(experiment, worker, lambda lease: fail(lab, lease))
    other = lab.submit({"Z": ["Conv-3-8 Pool-2"]})
    with pytest.raises(TooManyExperiments):
        retry_experiment(lab.store, experiment, most_open=1)
    assert lab.state(experiment) is ExperimentState.FAILED
    cancel_experiment(lab.store, other)
    assert retry_experiment(lab.store, experiment, most_open=1).tasks == 3
    # It is open now, and more of it may be retried.
    assert retry_experiment(lab.store, experiment, most_open=1) == Retried(0, 0)


def test_a_retry_that_fails_again_is_told_to_optuna_as_well(lab: Lab, database_url: str) -> None:
    experiment, worker = lab.submit(), lab.worker()
    for _ in range(2):
        lab.drive(experiment, worker, lambda lease: fail(lab, lease))
        project(lab, database_url)
        assert violations(database_url) == []
        assert retry_experiment(lab.store, experiment) == Retried(3, 1)
    lab.drive(experiment, worker)
    project(lab, database_url)
    assert violations(database_url) == []


def test_a_retry_that_fails_again_while_its_study_is_shown_is_told_as_well(lab: Lab, database_url: str) -> None:
    experiment, worker = lab.submit(), lab.worker()
    lab.drive(experiment, worker, lambda lease: fail(lab, lease))
    projection = StudyProjection(database_url)

    def show(name: str, read: Callable[[], ProjectedStudy]) -> ProjectedStudy:
        study = projection.sync(name, read)
        if {trial.chance for trial in study.trials} == {0}:
            assert retry_experiment(lab.store, experiment) == Retried(3, 1)
            lab.drive(experiment, worker, lambda lease: fail(lab, lease))
        return study

    assert [project_studies(lab.store, show) for _ in range(3)] == [1, 1, 0]
    projection.close()
    assert violations(database_url) == []


def test_what_is_decided_stays_decided(lab: Lab) -> None:
    experiment, worker = lab.submit(), lab.worker()
    first = iter([True])
    lab.drive(experiment, worker, lambda lease: fail(lab, lease) if next(first, False) else lab.finish(lease))
    before = lab.rows("SELECT state, incumbent_id FROM search")

    assert retry_experiment(lab.store, experiment) == Retried(0, 0)

    assert lab.rows("SELECT state, incumbent_id FROM search") == before
    assert lab.state(experiment) is ExperimentState.FINISHED
    failures = list_failures(lab.store, experiment, 10)
    assert (failures.total, failures.retryable) == (1, 0)


def test_a_trial_of_an_open_search_runs_again_within_its_budget(lab: Lab) -> None:
    experiment, worker = lab.submit(), lab.worker()
    lab.plan()
    lease = lab.take(worker)
    fail(lab, lease)
    assert retry_experiment(lab.store, experiment) == Retried(1, 0)
    done = lab.drive(experiment, worker)
    assert lease.task in {item.task for item in done}
    assert lab.value("SELECT count(*) FROM trial WHERE state = 'complete'") == 3


@pytest.mark.parametrize("kind", [TaskKind.FIT, TaskKind.EVALUATE])
def test_fits_and_evaluations_are_made_good(lab: Lab, kind: TaskKind) -> None:
    experiment, worker = lab.submit(seeds=[0, 1]), lab.worker()
    lab.drive(experiment, worker, lambda lease: fail(lab, lease) if lease.kind is kind else lab.finish(lease))
    missing = int(lab.value("SELECT count(*) FROM task WHERE state = 'failed'"))
    assert missing == list_failures(lab.store, experiment, 10).retryable > 0

    assert retry_experiment(lab.store, experiment).tasks == missing

    lab.drive(experiment, worker)
    assert lab.state(experiment) is ExperimentState.FINISHED
    assert lab.value("SELECT count(*) FROM task WHERE kind = 'evaluate' AND state = 'done'") == 2


def test_a_search_that_was_searched_anew_since_stays_dead(lab: Lab) -> None:
    first, worker = lab.submit(), lab.worker()
    lab.drive(first, worker, lambda lease: fail(lab, lease))
    second = lab.submit()
    lab.plan()
    assert retry_experiment(lab.store, first) == Retried(0, 0)
    assert lab.state(first) is ExperimentState.FAILED
    lab.drive(second, worker)
    assert lab.state(second) is ExperimentState.FINISHED


def test_seconds_that_another_search_was_given_are_not_spent_again(lab: Lab) -> None:
    variants = [*PARTIAL, {"architecture": "B", "learning": "total", "budget": "seconds"}]
    experiment, worker = lab.submit(TREE, variants=variants), lab.worker()
    root = lab.value("SELECT id FROM search WHERE parent_id IS NULL AND match_ids = '{}'")

    def work(lease: LeasedTask) -> None:
        if lab.value("SELECT search_id FROM task WHERE id = :id", id=lease.task) == root:
            fail(lab, lease)
        else:
            lab.finish(lease)

    lab.drive(experiment, worker, work)
    assert lab.value("SELECT state FROM search WHERE id = :id", id=root) == "dead"
    assert lab.value("SELECT count(*) FROM search WHERE match_ids <> '{}' AND opened_at IS NOT NULL") == 1
    assert retry_experiment(lab.store, experiment) == Retried(0, 0)


@pytest.mark.parametrize("later_fails", [False, True])
def test_a_later_phase_that_went_on_without_an_incumbent_keeps_what_it_found(lab: Lab, later_fails: bool) -> None:
    phases = [{"epochs": 1, "trials": 2}, {"epochs": 2, "trials": 2}]
    experiment, worker = lab.submit(phases=phases), lab.worker()

    def work(lease: LeasedTask) -> None:
        if lease.work.epochs == 1 or later_fails:
            fail(lab, lease)
        else:
            lab.finish(lease)

    lab.drive(experiment, worker, work)

    again = retry_experiment(lab.store, experiment)
    assert (again.searches > 0) is later_fails


def test_an_infeasible_search_would_fail_again(lab: Lab) -> None:
    experiment, worker = lab.submit(limits={"memory": "1GiB"}), lab.worker()
    lab.drive(experiment, worker, lambda lease: fail(lab, lease, FailureReason.MEMORY_LIMIT))
    assert retry_experiment(lab.store, experiment) == Retried(0, 0)


def test_another_experiment_on_the_search_stays_as_it_ended(lab: Lab) -> None:
    first, second, worker = lab.submit(), lab.submit(), lab.worker()
    lab.drive(first, worker, lambda lease: fail(lab, lease))
    lab.plan()
    assert [lab.state(one) for one in (first, second)] == [ExperimentState.FAILED] * 2

    assert retry_experiment(lab.store, second).searches == 1

    lab.drive(second, worker)
    assert [lab.state(one) for one in (first, second)] == [ExperimentState.FAILED, ExperimentState.FINISHED]


def test_nothing_comes_back_from_a_cancellation(lab: Lab) -> None:
    experiment, worker = lab.submit(), lab.worker()
    lab.plan()
    fail(lab, lab.take(worker))
    cancel_experiment(lab.store, experiment)
    with pytest.raises(Conflict):
        retry_experiment(lab.store, experiment)
    with pytest.raises(NotFound):
        retry_experiment(lab.store, uuid4())


def test_failures_say_who_why_and_what_the_log_said(lab: Lab) -> None:
    experiment, worker = lab.submit(), lab.worker()
    lab.plan()
    lease = lab.take(worker)
    fail(lab, lease)
    fail(lab, lab.take(worker), FailureReason.CRASHED)

    failures = list_failures(lab.store, experiment, 1, log=True)

    assert (failures.total, failures.retryable, len(failures.items)) == (2, 1, 1)
    newest = failures.items[0]
    assert (newest.reason, newest.worker, newest.message, newest.log) == (
        "crashed",
        "bench",
        "no such file",
        "one\ntwo",
    )
    assert (newest.task_state, newest.retryable) == ("ready", False)
    older = list_failures(lab.store, experiment, 2).items[1]
    assert (older.task, older.attempt, older.task_state, older.retryable, older.log) == (
        lease.task, 1, "failed", True, None,
    )  # fmt: skip
    with pytest.raises(NotFound):
        list_failures(lab.store, UUID(int=0), 1)
