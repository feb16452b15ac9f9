"""Seeds on which the chosen hyperparameters diverge, or whose training fails, in the report."""

from collections.abc import Callable

import pytest

from service.domain.leasing import FailureReason
from service.domain.report import Report, VariantLine
from service.domain.states import ExperimentState, TaskKind
from service.storage.tasks import LeasedTask
from service.usecases.build_report import build_report
from service.usecases.record_failure import record_failure
from tests.service.lab import DIGITS, STRIKES, TREE, Lab

SEEDS = [0, 7, 9]
TOTAL, PARTIAL = "B total", "B partial"
VARIANTS = [{"architecture": "B", "learning": learning} for learning in ("total", "partial")]


def worked(lab: Lab, lose: Callable[[LeasedTask], object], lost: Callable[[LeasedTask], bool]) -> Report:
    """B's two variants on three seeds, finished; ``lose`` does the fits on seed 7 that are ``lost``."""
    experiment = lab.submit(TREE, variants=VARIANTS, seeds=SEEDS)

    def work(lease: LeasedTask) -> object:
        if lease.kind is TaskKind.FIT and lease.work.seed == 7 and lost(lease):
            return lose(lease)
        if lease.kind is TaskKind.EVALUATE:
            return lab.finish(lease)
        return lab.finish(lease, 0.6)

    lab.drive(experiment, lab.worker(), work)
    assert lab.state(experiment) is ExperimentState.FINISHED
    return build_report(lab.store, experiment)


def line(report: Report, label: str) -> VariantLine:
    return next(item for item in report.variants if item.label == label)


def is_partials(lease: LeasedTask) -> bool:
    """A fit of one of the two stages; Total's has both in one."""
    return len(lease.work.stage.layers) < 3


def is_first(lease: LeasedTask) -> bool:
    return is_partials(lease) and not lease.work.prefix


def is_second(lease: LeasedTask) -> bool:
    return bool(lease.work.prefix)


@pytest.mark.parametrize("lost", [is_first, is_second])
def test_a_seed_on_which_a_stage_diverges_counts_at_chance(lab: Lab, lost: Callable[[LeasedTask], bool]) -> None:
    report = worked(lab, lambda lease: lab.finish(lease, 0.3, "diverged"), lost)

    partial, total = line(report, PARTIAL), line(report, TOTAL)
    assert (partial.state, partial.diverged_seeds, partial.failed_seeds) == ("complete", (7,), ())
    for reached, measured in (
        (partial.training_accuracy, 0.6), (partial.validation_accuracy, 0.6), (partial.test_accuracy, 0.5),
    ):  # fmt: skip
        assert reached is not None
        assert sorted(reached.values) == [DIGITS.chance, measured, measured]
    # It ended early: what it took says nothing of how long such a training lasts.
    assert partial.mean_training_seconds is not None
    assert partial.mean_training_seconds.values == (5.0, 5.0)
    assert (total.state, total.diverged_seeds) == ("complete", ())
    (gap,) = report.gaps
    assert gap.test is not None
    assert gap.validation.values == pytest.approx((0.0, 50.0, 0.0), abs=1e-9)
    assert sorted(gap.test.values) == pytest.approx([0.0, 0.0, 40.0], abs=1e-9)
    (note,) = [note for note in report.notes if "diverged" in note]
    assert note == (
        "B partial diverged on seed 7: that counts at chance, 0.100, in its accuracies and differences, and in no time."
    )
    assert not any("failed" in note or "tested" in note for note in report.notes)


def test_a_seed_on_which_training_fails_is_left_out_and_said_to_be(lab: Lab) -> None:
    def fail(lease: LeasedTask) -> None:
        record_failure(lab.store, lease.task, lease.attempt, FailureReason.USER_ERROR, STRIKES)

    report = worked(lab, fail, is_first)

    partial = line(report, PARTIAL)
    assert (partial.state, partial.diverged_seeds, partial.failed_seeds) == ("complete", (), (7,))
    assert partial.validation_accuracy is not None
    assert len(partial.validation_accuracy.values) == 2
    assert report.gaps[0].validation.seeds == 2
    assert (
        "B partial has no network on seed 7, where training failed: its accuracies and differences leave that out."
    ) in report.notes
    assert not any("diverged" in note for note in report.notes)


def test_a_test_that_fails_is_told_from_a_training_that_does(lab: Lab) -> None:
    experiment = lab.submit(seeds=SEEDS)

    def work(lease: LeasedTask) -> object:
        if lease.kind is TaskKind.EVALUATE and lease.work.seed == 7:
            return record_failure(lab.store, lease.task, lease.attempt, FailureReason.USER_ERROR, STRIKES)
        return lab.finish(lease)

    lab.drive(experiment, lab.worker(), work)

    notes = build_report(lab.store, experiment).notes
    assert "A total: 2 of 3 seeds that were trained have been tested." in notes
    assert not any("failed" in note for note in notes)


def test_before_any_test_a_diverged_seed_is_no_test_either(lab: Lab) -> None:
    experiment, worker = lab.submit(seeds=[0, 7]), lab.worker()
    for _ in range(4):
        lab.plan()
        lease = lab.take(worker)
        lab.finish(lease, 0.6, "diverged" if lease.kind is TaskKind.FIT else "complete")

    (line_of_a,) = build_report(lab.store, experiment).variants

    assert line_of_a.diverged_seeds == (7,)
    assert line_of_a.validation_accuracy is not None
    assert line_of_a.validation_accuracy.values == (0.6, DIGITS.chance)
    assert line_of_a.test_accuracy is None
