"""Leases as the server writes them, done on the CPU: what the training room's words become in the protocol's."""

import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from contract.tasks import (
    Command,
    EmbeddingOutcome,
    EvaluationOutcome,
    Measurement,
    RangeOutcome,
    TaskResult,
    TrainingOutcome,
)
from tests.worker.conftest import SECOND, WORK, Leases, Shelf, StopsAt
from worker.agent import Finished
from worker.checkpoints import unpack
from worker.control import Control, Stopped
from worker.jobs import Places, TorchExecutor
from worker.training.spec import Conv, Pool, Stage

pytestmark = pytest.mark.usefixtures("one_thread")


class Watched(Control):
    """Gives a command when the first measurement is told."""

    def __init__(self, command: Command) -> None:
        super().__init__()
        self._waiting = command

    def report(self, report: Measurement) -> None:
        super().report(report)
        self.command(self._waiting)


def trained(finished: Finished) -> TrainingOutcome:
    assert isinstance(finished.outcome, TrainingOutcome)
    return finished.outcome


@pytest.mark.parametrize("kind", ["trial", "fit"])
def test_a_training_brings_back_figures_and_a_checkpoint(executor: TorchExecutor, lease: Leases, kind: str) -> None:
    control = Control()

    started = time.monotonic()
    finished = executor(lease(kind), control)
    seconds = time.monotonic() - started

    outcome = trained(finished)
    assert outcome.outcome == "complete"
    assert outcome.validation_accuracy > 0.8
    assert outcome.training_accuracy > 0.8
    assert outcome.epochs == 2
    assert 0 < outcome.training_seconds + outcome.evaluation_seconds < outcome.total_seconds <= seconds
    assert outcome.feature_seconds == 0
    assert outcome.memory.resident_bytes == 800 * 64
    assert 0.5 < outcome.memory.peak_bytes / outcome.memory.analytic_bytes < 2.5
    assert outcome.provenance["precision"] == "float32"
    assert outcome.provenance["threads"] == "1"
    assert outcome.features is None, "a first stage reads none"
    assert outcome.provenance["training accuracy over"] == "600 images"
    assert outcome.checkpoint is None, "its name is the agent's to give, once it is uploaded"
    assert finished.checkpoint is not None
    stage = Stage((Conv(3, 8), Pool(2)), (1, 8, 8), (8, 4, 4))
    assert unpack(finished.checkpoint, stage).network.classes == 10
    assert TaskResult.model_validate_json(TaskResult(result=outcome).model_dump_json()).result == outcome


def test_measurements_are_told_as_they_are_made(executor: TorchExecutor, lease: Leases) -> None:
    control = Control()

    outcome = trained(executor(lease(), control))

    assert control.fraction == 1
    assert control.take_reports() == outcome.curve
    assert [point.step for point in outcome.curve] == [30, 60]
    assert [point.epoch for point in outcome.curve] == [1, 2]
    assert outcome.curve[-1].validation_accuracy == outcome.validation_accuracy


def test_seeds_make_a_difference_and_nothing_else_does(executor: TorchExecutor, lease: Leases) -> None:
    checkpoints = [executor(lease(seed=seed, epochs=1), Control()).checkpoint for seed in (0, 0, 1)]

    assert checkpoints[0] == checkpoints[1] != checkpoints[2]


def test_stage_after_stage_to_the_test_set(executor: TorchExecutor, lease: Leases, shelf: Shelf) -> None:
    first = shelf.put(executor(lease(), Control()).checkpoint)
    prefix = [{"stage": WORK["stage"], "checkpoint": first}]
    finished = executor(lease(stage=SECOND, prefix=prefix), Control())
    second = shelf.put(finished.checkpoint)

    assert trained(finished).feature_seconds > 0
    assert trained(finished).features == "memory"
    assert shelf.taken == [first]

    measured = [
        executor(
            lease("evaluate", stage=SECOND, prefix=prefix, checkpoint=second, hyperparameters=None), Control()
        ).outcome
        for _ in range(2)
    ]
    assert shelf.taken == [first, second], "what is here is not fetched again"
    for outcome in measured:
        assert isinstance(outcome, EvaluationOutcome)
        assert outcome.outcome == "evaluated"
        assert outcome.images == 360
        assert outcome.test_accuracy > 0.8
        assert outcome.total_seconds > 0
        one, two = outcome.stages
        assert two.head_accuracy == outcome.test_accuracy
        assert outcome.right is not None
        right = np.unpackbits(np.frombuffer(b64decode(outcome.right), np.uint8), bitorder="little")
        assert (len(right), int(right.sum())) == (360, round(outcome.test_accuracy * 360))
        assert min(one.head_accuracy, one.knn_accuracy, two.knn_accuracy) > 0.8


def test_a_range_test_brings_back_a_loss_for_each_rate(executor: TorchExecutor, lease: Leases) -> None:
    finished = executor(lease("range-test", learning_rates=[1e-5, 1e-2, 1e6, 1e7], rate_steps=100), Control())

    outcome = finished.outcome
    assert isinstance(outcome, RangeOutcome)
    slow, fast, *diverged = outcome.losses
    assert slow is not None
    assert fast is not None
    assert slow > fast
    assert diverged == [None, None]
    assert outcome.total_seconds > 0
    assert outcome.provenance["precision"] == "float32"
    assert finished.checkpoint is None
    assert TaskResult.model_validate_json(TaskResult(result=outcome).model_dump_json()).result == outcome


def test_a_stopped_range_test_leaves_no_snapshot(home: Path, executor: TorchExecutor, lease: Leases) -> None:
    class Interrupted(Control):
        def advance(self, fraction: float) -> None:
            self.command("pause")
            super().advance(fraction)

    task = lease("range-test", learning_rates=[1e-3, 1e-2], rate_steps=100, epochs=1_000)

    with pytest.raises(Stopped):
        executor(task, Interrupted())

    assert not (home / "snapshots" / f"{task.task}.safetensors").exists()


def test_an_embedding_brings_back_its_points_as_a_file(executor: TorchExecutor, lease: Leases, shelf: Shelf) -> None:
    first = shelf.put(executor(lease(), Control()).checkpoint)
    use = {"points": 60, "perplexity": 5.0}

    finished = executor(lease("embed", checkpoint=first, embedding=use, hyperparameters=None), Control())

    outcome = finished.outcome
    assert isinstance(outcome, EmbeddingOutcome)
    assert (outcome.points, outcome.perplexity, outcome.checkpoint) == (60, 5.0, None)
    assert outcome.class_names == [], "digits are digits"
    assert [(stage.dimensions, stage.components) for stage in outcome.stages] == [(128, 50)]
    assert finished.checkpoint is not None
    assert {name: tuple(value.shape) for name, value in load(finished.checkpoint).items()} == {
        "stage-1": (60, 2),
        "labels": (60,),
        "images": (60,),
    }
    assert TaskResult.model_validate_json(TaskResult(result=outcome).model_dump_json()).result == outcome


def test_pruned_means_figures_without_a_checkpoint(executor: TorchExecutor, lease: Leases) -> None:
    finished = executor(lease(epochs=1_000), Watched("prune"))

    outcome = trained(finished)
    assert outcome.outcome == "pruned"
    assert 0 < outcome.epochs < 1_000
    assert outcome.validation_accuracy == outcome.curve[-1].validation_accuracy
    assert finished.checkpoint is None


def test_a_training_pruned_before_it_began_still_has_figures(executor: TorchExecutor, lease: Leases) -> None:
    control = Control()
    control.command("prune")

    assert trained(executor(lease(epochs=1_000), control)).outcome == "pruned"


@pytest.mark.parametrize("command", ["cancel", "pause", "drain"])
def test_a_stop_in_the_middle_ends_the_training(executor: TorchExecutor, lease: Leases, command: Command) -> None:
    with pytest.raises(Stopped) as stop:
        executor(lease(epochs=1_000), Watched(command))

    assert stop.value.command == command


@pytest.mark.parametrize(
    ("kind", "work"),
    [
        ("trial", {}),
        ("evaluate", {"checkpoint": "second"}),
        ("embed", {"checkpoint": "second", "embedding": {"points": 120, "perplexity": 5.0}}),
        ("range-test", {"learning_rates": [1e-3], "rate_steps": 50}),
    ],
)
def test_a_stop_is_heard_in_a_pass_over_images(
    executor: TorchExecutor, lease: Leases, shelf: Shelf, kind: str, work: dict[str, Any]
) -> None:
    prefix = [{"stage": WORK["stage"], "checkpoint": shelf.put(executor(lease(epochs=1), Control()).checkpoint)}]
    if "checkpoint" in work:
        second = executor(lease(stage=SECOND, prefix=prefix, epochs=1), Control()).checkpoint
        work = work | {"checkpoint": shelf.put(second)}
        executor._bench.features.clear()
    control = StopsAt(5)

    with pytest.raises(Stopped) as stop:
        executor(lease(kind, stage=SECOND, prefix=prefix, **work), control)

    assert (stop.value.command, control.checks) == ("drain", 5)
    assert control.take_reports() == []
    assert not executor._bench.features._entries


class Killed(BaseException):
    """kill -9, as far as the training can tell: nothing after it runs."""


class Deadly(Control):
    """Kills at the third measurement."""

    def report(self, report: Measurement) -> None:
        super().report(report)
        if len(self._pending) == 3:
            raise Killed


@pytest.mark.parametrize("command", ["pause", "drain"])
def test_what_was_handed_back_goes_on_where_it_stopped(
    home: Path, executor: TorchExecutor, lease: Leases, shelf: Shelf, command: Command
) -> None:
    task = lease(epochs=4)
    undisturbed = executor(lease(epochs=4), Control())
    with pytest.raises(Stopped):
        executor(task, Watched(command))

    restarted = TorchExecutor(torch.device("cpu"), Places(home, None), shelf)
    resumed = restarted(task, Control())

    assert resumed.checkpoint == undisturbed.checkpoint, "bit by bit"
    assert trained(resumed).curve == trained(undisturbed).curve
    snapshot = home / "snapshots" / f"{task.task}.safetensors"
    assert snapshot.exists(), "the server may never hear of it"
    resumed.accepted()
    assert not snapshot.exists(), "a finished training needs no snapshot"


def test_a_killed_training_goes_on_from_its_last_snapshot(home: Path, lease: Leases, shelf: Shelf) -> None:
    task = lease(epochs=6)
    always = Places(home, None, snapshot_seconds=0)
    with pytest.raises(Killed):
        TorchExecutor(torch.device("cpu"), always, shelf)(task, Deadly())
    control = Control()

    resumed = TorchExecutor(torch.device("cpu"), always, shelf)(task, control)

    undisturbed = TorchExecutor(torch.device("cpu"), Places(home, None), shelf)(lease(epochs=6), Control())
    assert resumed.checkpoint == undisturbed.checkpoint
    told_again = control.take_reports()
    assert 0 < len(told_again) < len(trained(undisturbed).curve), "it did not start from the beginning"


def test_a_cancelled_training_leaves_no_snapshot(home: Path, lease: Leases, shelf: Shelf) -> None:
    task = lease(epochs=1_000)
    with pytest.raises(Stopped):
        TorchExecutor(torch.device("cpu"), Places(home, None, snapshot_seconds=0), shelf)(task, Watched("cancel"))

    assert not (home / "snapshots" / f"{task.task}.safetensors").exists()


def test_a_training_cancelled_before_it_goes_on_leaves_no_snapshot(
    home: Path, executor: TorchExecutor, lease: Leases
) -> None:
    task = lease(epochs=1_000)
    with pytest.raises(Stopped):
        executor(task, Watched("pause"))
    assert (home / "snapshots" / f"{task.task}.safetensors").exists()

    with pytest.raises(Stopped):
        executor(task, StopsAt(1, "cancel"))

    assert not (home / "snapshots" / f"{task.task}.safetensors").exists()


def test_the_snapshot_of_another_training_is_not_used(executor: TorchExecutor, lease: Leases) -> None:
    paused = lease(epochs=4)
    with pytest.raises(Stopped):
        executor(paused, Watched("pause"))
    other = lease(epochs=2, seed=5).model_copy(update={"task": paused.task})

    assert executor(other, Control()).checkpoint == executor(lease(epochs=2, seed=5), Control()).checkpoint


def test_divergence_is_a_result_at_chance(executor: TorchExecutor, lease: Leases) -> None:
    finished = executor(lease(hyperparameters={"learning_rate": 1e6, "regularization": 1e-4}), Control())

    outcome = trained(finished)
    assert (outcome.outcome, outcome.validation_accuracy) == ("diverged", 0.1)
    assert finished.checkpoint is None
    TaskResult.model_validate_json(TaskResult(result=outcome).model_dump_json())
