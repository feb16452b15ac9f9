"""Which learning rates a stage survives."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from worker.checkpoints import CheckpointStore
from worker.control import Control, Stopped
from worker.data import Dataset
from worker.range_test import SmoothedLoss, guessing_loss, try_rates
from worker.stage_training import DataUse, FrozenStage, StageJob, Workbench, train_stage
from worker.training.errors import MemoryLimitExceeded, TimeLimitExceeded
from worker.training.spec import Budget, Conv, Hyperparameters, Limits, Pool, Recipe, Stage

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
STEPS = 100
FIRST = Stage((Conv(3, 8), Pool(2)), (1, 8, 8), (8, 4, 4))
SECOND = Stage((Conv(3, 8), Pool(2)), (8, 4, 4), (8, 2, 2))
JOB = StageJob(FIRST, (), DataUse(1200, 237), Recipe(batch_size=10), Hyperparameters(1e-2, 5e-4), Budget(2), seed=0)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(CPU, CheckpointStore(tmp_path / "checkpoints"))


class Steps(Control):
    """Remembers what was told."""

    def __init__(self) -> None:
        super().__init__()
        self.fractions: list[float] = []

    def advance(self, fraction: float) -> None:
        self.fractions.append(fraction)
        super().advance(fraction)


def test_higher_rates_learn_faster_until_one_diverges(digits: Dataset, bench: Workbench) -> None:
    low, middle, good, wild, wilder = try_rates(JOB, [1e-5, 1e-3, 1e-2, 1e6, 1e7], STEPS, digits, bench, Control())

    assert low is not None
    assert middle is not None
    assert good is not None
    assert low > middle > good > 0
    assert (wild, wilder) == (None, None)


def test_a_rate_at_which_the_network_collapses_is_too_high(digits: Dataset, bench: Workbench) -> None:
    """At a rate of 0.3 this network's ReLUs die: its loss is finite and that of guessing."""
    job = replace(JOB, stage=Stage((Conv(3, 8), Conv(3, 8), Pool(2)), (1, 8, 8), (8, 4, 4)))

    (collapsed,) = try_rates(job, [0.3], STEPS, digits, bench, Control())
    assert collapsed is not None
    assert collapsed == pytest.approx(math.log(10), rel=0.1), "it neither diverged nor learned"

    slow, good, *high = try_rates(job, [1e-5, 1e-2, 0.3, 0.5, 1e6], STEPS, digits, bench, Control())
    assert slow is not None
    assert slow > math.log(10), "a rate that is too low to learn in so few steps is not too high"
    assert good is not None
    assert good < 1
    assert high == [None, None, None]


def test_without_labels_the_first_loss_is_what_must_be_beaten(digits: Dataset, bench: Workbench) -> None:
    job = replace(JOB, recipe=replace(JOB.recipe, objective="reconstruction"))

    slow, good, wild = try_rates(job, [1e-7, 1e-2, 1e6], STEPS, digits, bench, Control())

    assert slow is not None
    assert good is not None
    assert wild is None
    assert slow > good


def test_guessing_costs_the_entropy_of_the_classes() -> None:
    assert guessing_loss(np.array([0, 1, 2, 3, 3, 2, 1, 0])) == pytest.approx(math.log(4))
    assert guessing_loss(np.array([0, 0, 0, 2])) == pytest.approx(math.log(4) - 0.75 * math.log(3))
    assert guessing_loss(np.array([1, 1])) == 0


def test_nothing_is_tried_beyond_the_first_that_diverges(digits: Dataset, bench: Workbench) -> None:
    control = Steps()

    assert try_rates(JOB, [1e6, 1e-3], STEPS, digits, bench, control) == [None, None]
    assert max(control.fractions, default=0.0) <= 0.5


def test_every_rate_starts_from_the_same_weights_and_sees_the_same_images(digits: Dataset, bench: Workbench) -> None:
    together = try_rates(JOB, [1e-4, 1e-3, 1e-3], STEPS, digits, bench, Control())

    assert together[1] == together[2]
    assert together[:1] == try_rates(JOB, [1e-4], STEPS, digits, bench, Control())
    assert together != try_rates(replace(JOB, seed=1), [1e-4, 1e-3, 1e-3], STEPS, digits, bench, Control())


def test_a_rate_takes_as_many_steps_as_it_is_told(digits: Dataset, bench: Workbench) -> None:
    job = replace(JOB, budget=Budget(1_000))
    two, shorter = Steps(), Steps()

    try_rates(job, [1e-3, 1e-2], 100, digits, bench, two)
    try_rates(job, [1e-2], 50, digits, bench, shorter)

    assert two.fractions == [0.25, 0.5, 0.75, 1.0]
    assert shorter.fractions == [1.0]


def test_a_shorter_training_ends_by_itself(digits: Dataset, bench: Workbench) -> None:
    job = replace(JOB, data=DataUse(300, 237), budget=Budget(1))
    control = Steps()

    (loss,) = try_rates(job, [1e-2], STEPS, digits, bench, control)

    assert loss is not None
    assert control.fractions == [30 / STEPS]


def test_a_later_stage_is_tried_on_the_features_of_its_prefix(digits: Dataset, bench: Workbench) -> None:
    trained = train_stage(JOB, digits, bench)
    assert trained.checkpoint is not None
    first = FrozenStage(FIRST, bench.checkpoints.put(trained.checkpoint))

    slow, fast = try_rates(replace(JOB, stage=SECOND, prefix=(first,)), [1e-5, 1e-2], STEPS, digits, bench, Control())

    assert slow is not None
    assert fast is not None
    assert slow > fast


def test_limits_hold(digits: Dataset, bench: Workbench) -> None:
    with pytest.raises(MemoryLimitExceeded, match="MiB"):
        try_rates(replace(JOB, budget=Budget(2, Limits(memory=10_000))), [1e-3], STEPS, digits, bench, Control())
    with pytest.raises(TimeLimitExceeded, match="after 0 of 2 learning rates"):
        try_rates(replace(JOB, budget=Budget(2, Limits(time=0.0))), [1e-3, 1e-2], STEPS, digits, bench, Control())


@pytest.mark.parametrize("command", ["pause", "cancel", "drain"])
def test_a_stop_ends_it(digits: Dataset, bench: Workbench, command: str) -> None:
    control = Control()
    control.command(command)  # type: ignore[arg-type]

    with pytest.raises(Stopped, match=command):
        try_rates(JOB, [1e-3, 1e-2], STEPS, digits, bench, control)


def test_losses_fade_by_the_step() -> None:
    told, apart = SmoothedLoss(), SmoothedLoss()
    assert told.value is None
    for step in range(1, 101):
        apart.add(step, 2.0 if step <= 50 else 1.0)
    told.add(50, 2.0)
    told.add(100, 1.0)

    assert told.value == pytest.approx(apart.value)
    assert told.value == pytest.approx(1 + 0.95**50 / (1 + 0.95**50))
    told.add(101, float("nan"))
    assert told.value is None
