"""The report of experiments that ran, with a worker that trains nothing."""

from base64 import b64encode
from typing import Any
from uuid import UUID

import pytest

from contract import experiments
from service.domain.identity import FIRST_CONFIRMATION_SEED
from service.domain.report import CurvePoint, Report
from service.domain.states import TaskKind
from service.storage.tasks import LeasedTask
from service.usecases.build_report import build_report
from service.usecases.look_up import get_experiment
from service.usecases.record_result import record_result
from tests.service.lab import TREE, Lab
from tests.service.statements import statements

WIDE = {"A": ["Conv-3-4 Pool-2"], **{f"B{n}": ["Conv-3-4 Pool-2", f"Conv-3-{n}"] for n in range(4, 12)}}


def finish(lab: Lab, lease: LeasedTask, **more: Any) -> None:
    record_result(lab.store, lease.task, lease.attempt, lab.outcome(lease) | more)


def thorough(lab: Lab, lease: LeasedTask) -> None:
    """A worker that tells all it can: activations, a curve with losses, what every stage is worth."""
    if lease.kind is TaskKind.EVALUATE:
        stages = [{"head_accuracy": 0.3 + 0.1 * n, "knn_accuracy": 0.2} for n in range(len(lease.work.prefix) + 1)]
        finish(lab, lease, stages=stages)
    else:
        memory = {"peak_bytes": 1000, "method": "counted", "analytic_bytes": 900, "resident_bytes": 50}
        curve = [
            {"step": 5, "epoch": 0.5, "validation_accuracy": 0.1, "loss": 2.5},
            {"step": 10, "epoch": 1.0, "validation_accuracy": 0.4, "loss": None},
        ]
        finish(lab, lease, memory=memory | {"activation_bytes": 640}, curve=curve)


def count(lab: Lab, experiment: UUID) -> int:
    """How many statements a report takes."""
    with statements(lab.store) as seen:
        build_report(lab.store, experiment)
    return len(seen)


@pytest.fixture
def finished(lab: Lab) -> UUID:
    experiment = lab.submit(TREE, seeds=[0, 7])
    lab.drive(experiment, lab.worker(), lambda lease: thorough(lab, lease))
    return experiment


def partial(report: Report) -> Any:
    return next(line for line in report.variants if line.label == "B partial")


def test_everything_that_workers_told_is_in_the_report(lab: Lab, finished: UUID) -> None:
    line = partial(build_report(lab.store, finished))
    assert (line.trials, line.trials_per_stage, line.activation_bytes) == (6, (3, 3), 640)
    # Six trials and two fits of three seconds each.
    assert (line.search_seconds, line.fit_seconds) == (18.0, 6.0)
    assert line.mean_training_seconds.values == (5.0, 5.0)
    first, second = line.stages
    assert (first.head_test_accuracy.values, second.head_test_accuracy.values) == ((0.3, 0.3), (0.4, 0.4))
    assert second.knn_test_accuracy.mean == pytest.approx(0.2)
    assert first.curve == (CurvePoint(0.5, 0.1, 2.5, 1.0), CurvePoint(1.0, 0.4, None, 2.0))
    assert [point.seconds for point in first.best_so_far] == [3.0, 6.0, 9.0]
    assert first.best_so_far[-1].validation_accuracy == first.validation_accuracy
    # The stand-in of a sampler knows start points and a model; the root has no start points.
    assert first.origin == "model"


def test_tests_that_say_which_images_were_right_are_paired_by_image(lab: Lab) -> None:
    """Half of 360 images; of the first 16 Partial of B has the ones that Total has not."""

    def each(lease: LeasedTask) -> None:
        if lease.kind is not TaskKind.EVALUATE:
            lab.finish(lease)
            return
        first, others = b"\xf0" if lease.work.prefix else b"\x0f", b"\x55" if lease.work.seed else b"\xaa"
        finish(lab, lease, right=b64encode(2 * first + 43 * others).decode())

    experiment = lab.submit(TREE, seeds=[0, 7])
    lab.drive(experiment, lab.worker(), each)
    (gap,) = build_report(lab.store, experiment).gaps
    assert gap.test is not None
    assert (gap.test.method, gap.test.values, gap.validation.method) == ("crossed", (0.0, 0.0), "paired")
    # 16 images and the two that are added, on which both seeds agree.
    assert gap.test.standard_error == pytest.approx(100 * (2 * 18 / 361 / (2 * 362)) ** 0.5)


def test_a_report_goes_over_the_wire_whole(lab: Lab, finished: UUID) -> None:
    report = build_report(lab.store, finished)
    sent = experiments.Report.model_validate(report, from_attributes=True)
    assert sent.model_validate_json(sent.model_dump_json()) == sent
    assert (sent.baseline, sent.comparisons, len(sent.trends)) == ("A total", 3, 1)


def test_reused_searches_and_fits_are_what_was_not_spent_again(lab: Lab, finished: UUID) -> None:
    again = lab.submit(TREE, seeds=[0, 7, 9])
    lab.drive(again, lab.worker())
    report = build_report(lab.store, again)
    # Three searches of three trials and three fits on seed 7 were there; three fits on seed 9 are new.
    assert (report.reused_searches, report.reused_fits) == (3, 3)
    assert (report.search_seconds, report.fit_seconds, report.saved_seconds) == (27.0, 18.0, 27.0 + 9.0)
    assert {stage.saved_seconds for line in report.variants for stage in line.stages} == {9.0}
    first = build_report(lab.store, finished)
    assert (first.reused_fits, first.saved_seconds, first.fit_seconds) == (0, 0.0, 9.0)


def test_a_search_under_way_elsewhere_is_shared_and_not_reused(lab: Lab) -> None:
    early = lab.submit(TREE, name="early")
    worker = lab.worker()
    lab.plan()
    while lab.value("SELECT count(*) FROM search WHERE state = 'decided'") == 0:
        lab.finish(lab.take(worker))
        lab.plan()
    late = lab.submit(TREE, name="late")
    lab.drive(late, worker)
    report = build_report(lab.store, late)
    assert (report.searches, report.reused_searches, report.shared_searches) == (3, 1, 2)
    assert report.saved_seconds == 9.0
    # Total's search or that of partial's first stage, whichever was decided first.
    stages = [stage for line in report.variants for stage in line.stages]
    assert {(stage.reused, stage.shared_with) for stage in stages} == {(True, None), (False, "early")}
    shown = get_experiment(lab.store, late).stage_searches
    assert sorted((view.reused, view.shared_with or "") for view in shown) == [(False, "early")] * 2 + [(True, "")]
    first = build_report(lab.store, early)
    assert (first.reused_searches, first.shared_searches) == (0, 0)
    assert {view.shared_with for view in get_experiment(lab.store, early).stage_searches} == {None}


def test_range_tests_and_confirmations_belong_to_the_search_and_not_to_the_fits(lab: Lab, finished: UUID) -> None:
    lab.run(
        """
        INSERT INTO task (id, kind, state, search_id, candidate_id, seed, label, work, dataset_digest, finished_at)
        SELECT gen_random_uuid(), more.kind, 'cancelled', s.id, CASE more.kind WHEN 'fit' THEN s.incumbent_id END,
               1000000, '', '{}', s.dataset_digest, now()
        FROM search s, (VALUES ('fit'), ('range-test')) more (kind) WHERE s.parent_id IS NOT NULL
        """
    )
    lab.run(
        """
        INSERT INTO attempt (task_id, n, worker_id, request_id, ended_at, outcome, seconds)
        SELECT t.id, 1, w.id, gen_random_uuid(), now(), 'cancelled', 10 FROM task t, worker w WHERE t.seed = 1000000
        """
    )
    line = partial(build_report(lab.store, finished))
    assert [stage.search_seconds for stage in line.stages] == [9.0, 29.0]
    assert (line.search_seconds, line.confirmation_seconds, line.fit_seconds) == (38.0, 10.0, 6.0)


def test_a_confirmed_incumbent_tells_the_mean_it_was_chosen_by(lab: Lab) -> None:
    experiment = lab.submit(search={"confirm_seeds": 2})
    values = iter([0.62, 0.61, 0.3])

    def work(lease: LeasedTask) -> None:
        if lease.kind is TaskKind.TRIAL:
            lab.finish(lease, next(values))
        elif lease.kind is TaskKind.FIT:
            first = lease.work.seed == FIRST_CONFIRMATION_SEED
            lab.finish(lease, 0.6, "complete" if first or " trial 1 " in lease.label else "diverged")
        else:
            lab.finish(lease)

    lab.drive(experiment, lab.worker(), work)
    (stage,) = build_report(lab.store, experiment).variants[0].stages
    assert stage.validation_accuracy == 0.61
    assert stage.confirmed_accuracy == pytest.approx((0.61 + 0.6 + 0.6) / 3)
    # Had the other one been chosen, what diverged would have counted at chance.
    lab.run("UPDATE search SET incumbent_id = (SELECT id FROM trial WHERE ordinal = 0)")
    (stage,) = build_report(lab.store, experiment).variants[0].stages
    assert stage.confirmed_accuracy == pytest.approx((0.62 + 0.6 + 0.1) / 3)


def test_rounds_and_allowed_seconds_are_those_of_the_search(lab: Lab, finished: UUID) -> None:
    lab.run("UPDATE search SET round = 2, seconds = 12.5 WHERE parent_id IS NOT NULL")
    line = partial(build_report(lab.store, finished))
    assert [stage.second_round for stage in line.stages] == [False, True]
    assert line.allowed_seconds is None


def test_an_infeasible_search_says_what_its_worker_said(lab: Lab) -> None:
    experiment = lab.submit(limits={"memory": "1MiB"})
    lab.worker()
    lab.plan()
    lab.run("UPDATE trial SET state = 'failed', finished_at = now(), failure = 'memory-limit: it takes 2 MiB'")
    lab.run("UPDATE search SET state = 'infeasible'")
    report = build_report(lab.store, experiment)
    assert report.variants[0].state == "infeasible"
    assert any(note.endswith("limits.memory, 1.0 MiB (memory-limit: it takes 2 MiB).") for note in report.notes)


def test_a_report_takes_as_many_statements_however_large_the_experiment(lab: Lab, finished: UUID) -> None:
    wide = lab.submit(WIDE, phases=[{"epochs": 1, "trials": 2}, {"epochs": 2, "trials": 2}])
    lab.drive(wide, lab.worker())
    assert len(build_report(lab.store, wide).variants) == 2 * 17
    assert count(lab, wide) == count(lab, finished)


def test_trainings_in_two_precisions_are_told_apart(lab: Lab, finished: UUID) -> None:
    def computed_in(precision: str, where: str) -> None:
        lab.run(
            "UPDATE result SET payload = payload || jsonb_build_object('provenance', jsonb_build_object("
            f"'device', 'AMD EPYC', 'precision', '{precision}')) WHERE {where}"
        )

    computed_in("float32", "true")
    one = build_report(lab.store, finished)
    assert one.devices == ("AMD EPYC, float32",)
    assert not any(note.startswith("Trainings ran on") for note in one.notes)

    computed_in("bfloat16", "task_id = (SELECT min(task_id::text)::uuid FROM result)")
    both = build_report(lab.store, finished)
    assert both.devices == ("AMD EPYC, bfloat16", "AMD EPYC, float32")
    assert any("bfloat16; AMD EPYC, float32" in note and "accuracies" in note for note in both.notes)


def test_features_without_room_in_memory_are_told_by_stage(lab: Lab) -> None:
    # Older workers do not say.
    places = iter(["memory", None, "disk"])

    def tell(lease: LeasedTask) -> None:
        if lease.kind is TaskKind.EVALUATE or not lease.work.prefix:
            finish(lab, lease)
        else:
            place = next(places) if lease.kind is TaskKind.TRIAL else "recomputed"
            finish(lab, lease, features=place)

    worker = lab.worker()
    both = lab.submit(TREE, seeds=[0, 7])
    lab.drive(both, worker, tell)
    report = build_report(lab.store, both)
    assert [stage.features for stage in partial(report).stages] == [{}, {"memory": 1, "disk": 1, "recomputed": 1}]
    assert any("B partial, stage 2: 1 of 3 trainings from disk and 1 of 3 " in note for note in report.notes)
    sent = experiments.Report.model_validate(report, from_attributes=True)
    assert experiments.Report.model_validate_json(sent.model_dump_json()) == sent

    # The fit on seed 7 is none of an experiment that has the first seed alone.
    one = lab.submit(TREE)
    lab.drive(one, worker, tell)
    assert partial(build_report(lab.store, one)).stages[1].features == {"memory": 1, "disk": 1}
