"""Second rounds and confirmations of stage searches."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from service.domain.leasing import FailureReason
from service.domain.states import ExperimentState, TaskKind
from service.storage.tasks import LeasedTask
from service.tuning.projection import StudyProjection
from service.usecases.build_report import build_report
from service.usecases.control_experiment import cancel_experiment
from service.usecases.follow_experiment import follow_experiment
from service.usecases.look_up import get_experiment
from service.usecases.project_studies import project_studies
from service.usecases.record_failure import record_failure
from tests.invariants import violations
from tests.service.lab import STRIKES, TREE, Lab

PARTIAL = [{"architecture": "B", "learning": "partial"}]
CONFIRMATION_SEEDS = (1_000_000, 1_000_001)
INCUMBENT = "SELECT i.ordinal FROM search s JOIN trial i ON i.id = s.incumbent_id WHERE s.parent_id IS NULL"


def events(lab: Lab, experiment: UUID, kind: str) -> list[Any]:
    return [event.data for event in follow_experiment(lab.store, experiment, 0, 1000).events if event.kind == kind]


def reaching(lab: Lab, first: float, second: float) -> Callable[[LeasedTask], object]:
    """Work in which the first and the second stage reach these accuracies."""
    return lambda lease: lab.finish(lease, second if lease.work.prefix else first)


def test_a_stage_below_its_prefix_gets_more_trials_in_a_wider_space(lab: Lab) -> None:
    experiment = lab.submit(TREE, variants=PARTIAL, search={"second_round": 2})

    done = lab.drive(experiment, lab.worker(), reaching(lab, 0.9, 0.4))

    second = [lease for lease in done if lease.kind is TaskKind.TRIAL and lease.work.prefix]
    assert len(second) == 3 + 2
    (row,) = lab.rows("SELECT round, budget, space, state FROM search WHERE parent_id IS NOT NULL")
    assert (row.round, row.budget, row.state) == (2, 5, "decided")
    assert (row.space["learning_rate"]["low"], row.space["learning_rate"]["high"]) == (1e-5, 2.0)
    (told,) = events(lab, experiment, "search-second-round")
    assert told["trials"] == 2
    assert get_experiment(lab.store, experiment).trials == 8
    lab.project()
    assert all(study.space.holds(trial.point) for study in lab.shown for trial in study.trials)


def test_a_stage_that_is_no_worse_than_its_prefix_has_one_round(lab: Lab) -> None:
    experiment = lab.submit(TREE, variants=PARTIAL, search={"second_round": 2})
    lab.drive(experiment, lab.worker(), reaching(lab, 0.5, 0.49))
    assert lab.rows("SELECT DISTINCT round, budget FROM search") == [(1, 3)]
    assert events(lab, experiment, "search-second-round") == []


def test_the_prefix_of_a_second_round_and_of_the_report_is_what_was_confirmed(lab: Lab) -> None:
    """The first stage's trials reach 0.9 by luck and 0.5 again: the second stage's 0.6 is no drop."""
    experiment = lab.submit(TREE, variants=PARTIAL, search={"second_round": 2, "confirm_seeds": 1})

    def work(lease: LeasedTask) -> object:
        if lease.work.prefix:
            return lab.finish(lease, 0.6)
        return lab.finish(lease, 0.9 if lease.kind is TaskKind.TRIAL else 0.1)

    lab.drive(experiment, lab.worker(), work)

    assert events(lab, experiment, "search-second-round") == []
    before, stage = build_report(lab.store, experiment).variants[0].stages
    assert before.confirmed_accuracy == pytest.approx(0.5)
    assert stage.confirmed_accuracy == pytest.approx(0.6)
    assert not stage.stagnating


def test_a_stage_that_falls_short_when_it_is_confirmed_gets_a_second_round_that_is_confirmed_too(lab: Lab) -> None:
    experiment = lab.submit(TREE, variants=PARTIAL, search={"second_round": 2, "confirm_seeds": 1})
    values = iter([0.7, 0.6, 0.5, 0.65, 0.8])

    def work(lease: LeasedTask) -> object:
        if not lease.work.prefix:
            return lab.finish(lease, 0.7)
        if lease.kind is TaskKind.TRIAL:
            return lab.finish(lease, next(values))
        return lab.finish(lease, 0.75 if " trial 4 " in lease.label else 0.1)

    done = lab.drive(experiment, lab.worker(), work)

    again = [lease.label.split()[-3] for lease in done if lease.work.prefix and lease.kind is TaskKind.FIT]
    # Of the second round's two best trials one has been confirmed before it.
    assert sorted(again) == ["0", "1", "4"]
    assert lab.value("SELECT i.ordinal FROM search s JOIN trial i ON i.id = s.incumbent_id WHERE s.round = 2") == 4
    report = build_report(lab.store, experiment)
    assert not report.variants[0].stages[1].stagnating


def test_a_search_that_diverges_twice_is_dead(lab: Lab) -> None:
    experiment = lab.submit(search={"second_round": 2})
    done = lab.drive(experiment, lab.worker(), lambda lease: lab.finish(lease, 0.3, "diverged"))
    assert (len(done), lab.value("SELECT state FROM search")) == (5, "dead")


def confirming(lab: Lab, values: dict[int, float], again: Callable[[LeasedTask], object]) -> Callable[..., object]:
    """Trials reach ``values`` in turn; ``again`` does the confirmations."""
    trials = iter(values.values())

    def work(lease: LeasedTask) -> object:
        if lease.kind is TaskKind.FIT and lease.work.seed in CONFIRMATION_SEEDS:
            return again(lease)
        return lab.finish(lease, next(trials) if lease.kind is TaskKind.TRIAL else None)

    return work


def test_the_two_best_trials_are_trained_again_and_the_better_mean_is_frozen(lab: Lab) -> None:
    experiment = lab.submit(search={"confirm_seeds": 2}, seeds=[0, 7])
    again: list[LeasedTask] = []

    def confirm(lease: LeasedTask) -> None:
        again.append(lease)
        lab.finish(lease, 0.5 if " trial 1 " in lease.label else 0.6)

    done = lab.drive(experiment, lab.worker(), confirming(lab, {0: 0.3, 1: 0.62, 2: 0.61}, confirm))

    assert sorted(lease.work.seed for lease in again) == [*CONFIRMATION_SEEDS[:1] * 2, *CONFIRMATION_SEEDS[1:] * 2]
    assert lab.value(INCUMBENT) == 2
    (told,) = events(lab, experiment, "search-confirming")
    assert told["ordinals"] == [1, 2]
    # What is fitted and evaluated on the experiment's own seeds is untouched by them.
    assert [lease.work.seed for lease in done if lease.kind is TaskKind.FIT and lease not in again] == [7]
    view = get_experiment(lab.store, experiment)
    assert (view.fits, view.fits_finished, view.state) == (1, 1, "finished")
    frozen = (
        "SELECT r.checkpoint FROM search s JOIN task t ON t.trial_id = s.incumbent_id JOIN result r ON r.task_id = t.id"
    )
    (tested,) = [lease for lease in done if lease.kind is TaskKind.EVALUATE and lease.work.seed == 0]
    assert tested.work.checkpoint == lab.value(frozen)


def test_confirmations_stand_on_the_first_seeds_prefix(lab: Lab) -> None:
    experiment = lab.submit(TREE, variants=PARTIAL, search={"confirm_seeds": 1}, seeds=[0, 7])
    done = lab.drive(experiment, lab.worker())
    prefixes = {
        lease.work.prefix[0].checkpoint
        for lease in done
        if lease.work.prefix and (lease.kind is TaskKind.TRIAL or lease.work.seed in CONFIRMATION_SEEDS)
    }
    assert len(prefixes) == 1


def test_failed_confirmations_confirm_nothing(lab: Lab) -> None:
    experiment = lab.submit(search={"confirm_seeds": 1})

    def fail(lease: LeasedTask) -> None:
        record_failure(lab.store, lease.task, lease.attempt, FailureReason.USER_ERROR, STRIKES)

    lab.drive(experiment, lab.worker(), confirming(lab, {0: 0.3, 1: 0.62, 2: 0.61}, fail))

    assert lab.value(INCUMBENT) == 1
    assert lab.state(experiment) is ExperimentState.FINISHED


def test_a_candidate_that_diverges_on_another_seed_counts_at_chance(lab: Lab) -> None:
    experiment = lab.submit(search={"confirm_seeds": 1})

    def diverge(lease: LeasedTask) -> None:
        lab.finish(lease, 0.6, "diverged" if " trial 1 " in lease.label else "complete")

    lab.drive(experiment, lab.worker(), confirming(lab, {0: 0.3, 1: 0.62, 2: 0.61}, diverge))
    assert lab.value(INCUMBENT) == 2


def test_confirmations_are_made_once_and_again_when_cancelled(lab: Lab) -> None:
    experiment, worker = lab.submit(search={"confirm_seeds": 1}), lab.worker()
    for _ in range(3):
        lab.plan()
        lab.finish(lab.take(worker))
    for _ in range(3):
        lab.plan()
    assert lab.value("SELECT count(*) FROM task WHERE candidate_id IS NOT NULL") == 2
    lease = lab.take(worker)
    record_failure(lab.store, lease.task, lease.attempt, FailureReason.CANCELLED, STRIKES)
    lab.plan()
    assert lab.rows(
        "SELECT state, count(*) FROM task WHERE candidate_id IS NOT NULL GROUP BY state ORDER BY state"
    ) == [
        ("cancelled", 1),
        ("ready", 2),
    ]
    cancel_experiment(lab.store, experiment)
    assert lab.rows("SELECT DISTINCT state FROM task WHERE candidate_id IS NOT NULL") == [("cancelled",)]


def test_repeating_every_step_changes_nothing(lab: Lab, database_url: str) -> None:
    """A crash after any step is mended by doing the step again."""
    search = {"confirm_seeds": 1, "second_round": 2, "range_test": True, "seeds": "each", "pruner": "median"}
    experiment = lab.submit(TREE, search=search, seeds=[0, 7])
    worker, projection = lab.worker(), StudyProjection(database_url)
    counts = "SELECT (SELECT count(*) FROM trial), (SELECT count(*) FROM task), (SELECT count(*) FROM event)"
    while lab.state(experiment) is ExperimentState.RUNNING:
        lab.plan()
        before = lab.rows(counts)
        lab.plan()
        assert lab.rows(counts) == before
        lease = lab.lease(worker)
        if lease is not None:
            reaching(lab, 0.9, 0.4)(lease)
    assert lab.state(experiment) is ExperimentState.FINISHED
    project_studies(lab.store, projection.sync)
    projection.close()
    assert violations(database_url) == []
