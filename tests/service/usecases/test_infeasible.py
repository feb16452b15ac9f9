"""A trial that takes more memory than its limit ends its search; one on a crowded device is tried again."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier
from uuid import UUID

import pytest

from service.domain.errors import LeaseLost
from service.domain.leasing import FailureReason
from service.domain.states import ExperimentState, TaskKind
from service.storage.tasks import LeasedTask
from service.tuning.projection import StudyProjection
from service.usecases.control_experiment import cancel_experiment
from service.usecases.depart_worker import depart_worker
from service.usecases.follow_experiment import follow_experiment
from service.usecases.look_up import get_experiment
from service.usecases.project_studies import project_studies
from service.usecases.record_failure import FailureAccepted, record_failure
from service.usecases.renew_lease import Command, renew_lease
from tests.invariants import violations
from tests.service.lab import LEASE, STRIKES, TREE, Lab, never

LIMIT = {"memory": "1GiB"}
PARTIAL = [{"architecture": "B", "learning": "partial"}]


def exceed(lab: Lab, lease: LeasedTask) -> FailureAccepted:
    return record_failure(lab.store, lease.task, lease.attempt, FailureReason.MEMORY_LIMIT, STRIKES, message="2 GiB")


def events(lab: Lab, experiment: UUID) -> list[str]:
    return [event.kind for event in follow_experiment(lab.store, experiment, 0, 1000).events]


def test_the_first_one_ends_the_search_and_all_that_stands_on_it(lab: Lab) -> None:
    experiment, worker = lab.submit(TREE, variants=PARTIAL, limits=LIMIT), lab.worker(slots=2)
    lab.plan()
    first, second = lab.take(worker), lab.take(worker)

    assert exceed(lab, first).state == "failed"

    assert lab.rows("SELECT state, parent_id IS NULL FROM search ORDER BY 2 DESC") == [
        ("infeasible", True),
        ("dead", False),
    ]
    assert lab.rows("SELECT state FROM trial ORDER BY ordinal")[:2] == [("failed",), ("cancelled",)]
    assert lab.rows("SELECT DISTINCT state FROM trial WHERE ordinal > 0") == [("cancelled",)]
    assert renew_lease(lab.store, never, second.task, second.attempt, LEASE).command is Command.CANCEL
    with pytest.raises(LeaseLost):
        lab.finish(second)
    assert exceed(lab, first).state == "failed"
    assert lab.lease(worker) is None
    lab.plan()
    assert lab.state(experiment) is ExperimentState.FAILED
    told = events(lab, experiment)
    assert (told.count("search-infeasible"), told.count("search-dead")) == (1, 1)


def test_without_a_limit_it_is_a_failed_trial_like_any_other(lab: Lab) -> None:
    experiment, worker = lab.submit(), lab.worker()
    lab.plan()
    exceed(lab, lab.take(worker))
    lab.drive(experiment, worker)
    assert lab.state(experiment) is ExperimentState.FINISHED
    assert lab.rows("SELECT state FROM trial ORDER BY ordinal") == [("failed",), ("complete",), ("complete",)]


def test_what_fitted_once_is_feasible_and_keeps_what_it_has(lab: Lab) -> None:
    experiment, worker = lab.submit(limits=LIMIT), lab.worker()
    lab.plan()
    lab.finish(lab.take(worker))

    lab.drive(
        experiment, worker, lambda lease: exceed(lab, lease) if lease.kind is TaskKind.TRIAL else lab.finish(lease)
    )

    assert lab.value("SELECT state FROM search") == "decided"
    assert lab.rows("SELECT state FROM trial ORDER BY ordinal") == [("complete",), ("failed",), ("failed",)]


def test_other_searches_go_on(lab: Lab) -> None:
    """A network that Total cannot train within the limit is trained by Partial."""
    experiment = lab.submit(TREE, limits=LIMIT)

    def work(lease: LeasedTask) -> None:
        if len(lease.work.stage.layers) == 3:
            exceed(lab, lease)
        else:
            lab.finish(lease)

    lab.drive(experiment, lab.worker(), work)

    assert lab.state(experiment) is ExperimentState.FINISHED
    assert lab.rows("SELECT state, count(*) FROM search GROUP BY state ORDER BY state") == [
        ("decided", 2),
        ("infeasible", 1),
    ]


def test_what_will_never_be_is_not_waited_for(lab: Lab) -> None:
    experiment, worker = lab.submit(TREE, limits=LIMIT, seeds=[0, 7]), lab.worker(slots=2)
    before = get_experiment(lab.store, experiment)
    shown: list[tuple[int, int, int]] = []

    def work(lease: LeasedTask) -> None:
        if len(lease.work.stage.layers) == 3:
            exceed(lab, lease)
            view = get_experiment(lab.store, experiment)
            shown.append((view.trials, view.fits, view.evaluations))
        else:
            lab.finish(lease)

    lab.drive(experiment, worker, work)

    # Total of the larger network: the trials it was asked for stay, its fit and the evaluations on both seeds go.
    after = get_experiment(lab.store, experiment)
    tried = 6 + lab.value("SELECT count(*) FROM trial t JOIN search s ON s.id = search_id WHERE s.state = 'infeasible'")
    assert tried < 9
    assert (before.trials, before.fits, before.evaluations) == (9, 3, 6)
    assert shown == [(tried, 2, 4)]
    assert (after.trials, after.fits, after.evaluations) == (tried, 2, 4)
    assert (after.trials_finished, after.fits_finished, after.evaluations_finished) == (tried, 2, 4)


def test_a_cancelled_experiment_shows_how_far_it_would_have_gone(lab: Lab) -> None:
    experiment = lab.submit(TREE, seeds=[0, 7])
    cancel_experiment(lab.store, experiment)
    view = get_experiment(lab.store, experiment)
    assert (view.trials, view.fits, view.evaluations) == (9, 3, 6)
    assert (view.trials_finished, view.fits_finished, view.evaluations_finished) == (0, 0, 0)


def test_a_later_experiment_may_try_again(lab: Lab) -> None:
    worker = lab.worker()
    lab.drive(lab.submit(limits=LIMIT), worker, lambda lease: exceed(lab, lease))
    again = lab.submit(limits=LIMIT)
    lab.drive(again, worker)
    assert lab.state(again) is ExperimentState.FINISHED
    assert lab.rows("SELECT state FROM search ORDER BY created_at") == [("infeasible",), ("decided",)]


@pytest.mark.parametrize("limits", [{}, LIMIT])
def test_a_crowded_device_is_no_verdict_on_the_search(lab: Lab, limits: dict[str, str]) -> None:
    """Memory that others have taken is tried again like a crash, and after three strikes that trial alone fails."""
    experiment, worker = lab.submit(limits=limits), lab.worker()
    crowded: list[UUID] = []

    def work(lease: LeasedTask) -> None:
        if lease.task in crowded or not crowded:
            crowded.append(lease.task)
            reason = FailureReason.OUT_OF_MEMORY
            record_failure(lab.store, lease.task, lease.attempt, reason, STRIKES, message="2 GiB")
            lab.run("UPDATE task SET not_before = now() WHERE id = :id", id=lease.task)
        else:
            lab.finish(lease)

    lab.drive(experiment, worker, work)

    assert len(crowded) == STRIKES
    assert lab.rows("SELECT state, failure FROM trial ORDER BY ordinal") == [
        ("failed", "out-of-memory: 2 GiB"),
        ("complete", None),
        ("complete", None),
    ]
    assert (lab.value("SELECT state FROM search"), lab.state(experiment)) == ("decided", ExperimentState.FINISHED)


@pytest.mark.parametrize("turn", range(5))
def test_everybody_at_once_does_not_lock_each_other_out(lab: Lab, database_url: str, turn: int) -> None:
    """Any deadlock would surface as an error of the database."""
    worker = lab.worker(slots=8)
    experiment = lab.submit(TREE, phases=[{"epochs": 1, "trials": 6}], limits=LIMIT)
    lab.plan()
    leases = [lab.take(worker) for _ in range(6)]
    start = Barrier(8)

    def ends(lease: LeasedTask) -> None:
        start.wait()
        with suppress(LeaseLost):
            exceed(lab, lease)

    def cancels() -> None:
        start.wait()
        cancel_experiment(lab.store, experiment)

    def departs() -> None:
        start.wait()
        depart_worker(lab.store, worker)

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(ends, lease) for lease in leases] + [pool.submit(cancels), pool.submit(departs)]
        for thread in running:
            thread.result()

    assert lab.value("SELECT count(*) FROM task WHERE state IN ('ready', 'leased')") == 0, turn
    projection = StudyProjection(database_url)
    project_studies(lab.store, projection.sync)
    projection.close()
    assert violations(database_url) == []
