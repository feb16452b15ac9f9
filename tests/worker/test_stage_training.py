from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.worker.conftest import StopsAt
from worker.checkpoints import CheckpointError, CheckpointStore
from worker.control import Stopped
from worker.data import DataError, Dataset
from worker.stage_training import DataUse, FrozenStage, StageJob, StageResult, Workbench, evaluate_chain, train_stage
from worker.training.errors import Paused
from worker.training.loop import Progress
from worker.training.spec import Budget, Command, Conv, Ending, Hyperparameters, Pool, Recipe, Stage

# Real trainings: on a machine with other work to do each takes a minute and more.
pytestmark = pytest.mark.timeout(400)

CPU = torch.device("cpu")
FIRST = Stage((Conv(3, 16), Conv(3, 16), Pool(2)), (1, 8, 8), (16, 4, 4))
SECOND = Stage((Conv(3, 16), Pool(2)), (16, 4, 4), (16, 2, 2))
THIRD = Stage((Conv(3, 8),), (16, 2, 2), (8, 2, 2))
JOB = StageJob(FIRST, (), DataUse(1200, 237), Recipe(batch_size=20), Hyperparameters(1e-2, 5e-4), Budget(2), seed=0)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(CPU, CheckpointStore(tmp_path / "checkpoints"), tmp_path / "features")


def keep(bench: Workbench, stage: Stage, result: StageResult) -> FrozenStage:
    assert result.checkpoint is not None
    return FrozenStage(stage, bench.checkpoints.put(result.checkpoint))


def test_stage_after_stage_learns_the_digits(digits: Dataset, bench: Workbench) -> None:
    one = train_stage(JOB, digits, bench)
    first = keep(bench, FIRST, one)
    two = train_stage(replace(JOB, stage=SECOND, prefix=(first,)), digits, bench)
    second = keep(bench, SECOND, two)

    assert one.training.validation_accuracy > 0.9
    assert two.training.validation_accuracy > 0.9
    assert one.training.feature_seconds == 0 < two.training.feature_seconds
    assert two.training.memory.peak_bytes < one.training.memory.peak_bytes
    pixels = (1200 + 237) * 64
    assert one.training.memory.resident_bytes == pixels
    assert two.training.memory.resident_bytes == pixels + bench.features.resident_bytes

    tested = evaluate_chain((first, second), digits, "auto", bench)
    assert (tested.images, tested.test_accuracy > 0.85) == (360, True)
    assert evaluate_chain((first, second), digits, "auto", bench).test_accuracy == tested.test_accuracy


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_job_gives_the_same_checkpoint_wherever_features_are_kept(
    digits: Dataset, tmp_path: Path, precision: str
) -> None:
    recipe = replace(JOB.recipe, precision=precision)  # type: ignore[arg-type]
    store = CheckpointStore(tmp_path / "checkpoints")
    found, places = set(), []
    for directory, size in ((None, 1 << 30), (None, 0), (tmp_path / "features", 0)):
        bench = Workbench(CPU, store, directory, size)
        one = train_stage(replace(JOB, recipe=recipe), digits, bench)
        first = keep(bench, FIRST, one)
        two = train_stage(replace(JOB, recipe=recipe, stage=SECOND, prefix=(first,)), digits, bench)
        found.add((first.checkpoint, keep(bench, SECOND, two).checkpoint))
        places.append((one.features, two.features))
    assert len(found) == 1
    assert places == [(None, "memory"), (None, "recomputed"), (None, "disk")]


def test_features_are_where_the_slower_of_both_splits_is(digits: Dataset, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    recipe = replace(JOB.recipe, precision="float32")
    job = replace(JOB, data=DataUse(200, 100), recipe=recipe, budget=Budget(1))
    bench = Workbench(CPU, store)
    first = keep(bench, FIRST, train_stage(job, digits, bench))
    following = replace(job, stage=SECOND, prefix=(first,))
    # The features of 200 training images do not fit, those of 100 validation images do.
    small = Workbench(CPU, store, tmp_path / "features", 150 * 16 * 4 * 4 * 4)
    assert train_stage(following, digits, small).features == "disk"
    assert small.features.resident_bytes > 0
    assert train_stage(following, digits, Workbench(CPU, store, None, 150 * 16 * 4 * 4 * 4)).features == "recomputed"


@pytest.mark.parametrize(("precision", "standardize"), [("float32", True), ("bfloat16", False)])
def test_a_prefix_that_runs_for_every_batch_gives_the_same_checkpoint(
    digits: Dataset, bench: Workbench, precision: str, standardize: bool
) -> None:
    recipe = replace(JOB.recipe, precision=precision, standardize_inputs=standardize)  # type: ignore[arg-type]
    job = replace(JOB, recipe=recipe, budget=Budget(1))
    for following in (SECOND, THIRD):
        frozen = keep(bench, job.stage, train_stage(job, digits, bench))
        job = replace(job, stage=following, prefix=(*job.prefix, frozen))
    cached = train_stage(job, digits, bench)
    timed = train_stage(replace(job, recipe=replace(recipe, cached_features=False)), digits, bench)

    assert timed.checkpoint == cached.checkpoint
    assert timed.training.curve == cached.training.curve
    assert (cached.features, timed.features) == ("memory", "recomputed")
    assert (timed.training.feature_seconds > 0) == standardize
    assert timed.training.memory.resident_bytes == (1200 + 237) * 64 < cached.training.memory.resident_bytes


def test_a_resumed_timed_training_makes_its_features_again(digits: Dataset, bench: Workbench) -> None:
    first = keep(bench, FIRST, train_stage(JOB, digits, bench))
    job = replace(JOB, stage=SECOND, prefix=(first,), recipe=replace(JOB.recipe, cached_features=False))
    with pytest.raises(Paused) as paused:
        train_stage(job, digits, bench, lambda _: Command.PAUSE)
    fresh = Workbench(CPU, bench.checkpoints)
    assert (
        train_stage(job, digits, fresh, resume=paused.value.state).checkpoint
        == train_stage(job, digits, bench).checkpoint
    )


@pytest.mark.parametrize("objective", ["reconstruction", "contrastive"])
def test_a_stage_learns_on_a_prefix_that_learned_without_labels(
    digits: Dataset, bench: Workbench, objective: str
) -> None:
    recipe = replace(JOB.recipe, objective=objective, head="mlp")  # type: ignore[arg-type]
    one = train_stage(replace(JOB, recipe=recipe), digits, bench)
    first = keep(bench, FIRST, one)
    two = train_stage(replace(JOB, stage=SECOND, prefix=(first,)), digits, bench)
    assert one.training.validation_accuracy > 0.5
    assert two.training.validation_accuracy > 0.7
    assert evaluate_chain((first, keep(bench, SECOND, two)), digits, "auto", bench).test_accuracy > 0.6


def test_segments_change_the_memory_and_not_the_checkpoint(digits: Dataset, bench: Workbench) -> None:
    stage = Stage((*FIRST.layers, *SECOND.layers), FIRST.input_shape, SECOND.output_shape, norms=(3,))
    job = replace(JOB, stage=stage, budget=Budget(1), recipe=replace(JOB.recipe, precision="bfloat16"))
    whole = train_stage(job, digits, bench)
    parts = train_stage(replace(job, segments=(1, 3)), digits, bench)
    assert parts.checkpoint == whole.checkpoint
    assert parts.training.memory.activation_bytes < whole.training.memory.activation_bytes


def test_stage_inputs_are_standardised_only_where_the_recipe_says_so(digits: Dataset, bench: Workbench) -> None:
    first = keep(bench, FIRST, train_stage(JOB, digits, bench))
    job = replace(JOB, stage=SECOND, prefix=(first,))
    with_it = bench.stage(keep(bench, SECOND, train_stage(job, digits, bench)))
    plain = replace(job, recipe=replace(job.recipe, standardize_inputs=False))
    without = bench.stage(keep(bench, SECOND, train_stage(plain, digits, bench)))
    assert with_it.network.input_mean.any()
    assert not without.network.input_mean.any()
    assert without.network.input_std.eq(1).all()


@pytest.mark.parametrize("preprocessing", ["standardize", "mean-image", "none"])
def test_the_checkpoint_carries_the_preprocessing(digits: Dataset, bench: Workbench, preprocessing: str) -> None:
    job = replace(
        JOB,
        data=DataUse(1200, 237, preprocessing),  # type: ignore[arg-type]
        point=Hyperparameters(1e-4, 1e-3),
        budget=Budget(1),
    )
    network = bench.stage(keep(bench, FIRST, train_stage(job, digits, bench))).network
    assert network.input_mean.shape == ((1, 8, 8) if preprocessing == "mean-image" else (1, 1, 1))
    assert (network.input_std.item() == 255) == (preprocessing == "none")


def test_a_paused_stage_continues_to_the_same_checkpoint(digits: Dataset, bench: Workbench) -> None:
    whole = train_stage(JOB, digits, bench)

    def pause(progress: Progress) -> Command:
        return Command.PAUSE if progress.fraction >= 0.5 else Command.CONTINUE

    with pytest.raises(Paused) as paused:
        train_stage(JOB, digits, bench, pause)
    assert train_stage(JOB, digits, bench, resume=paused.value.state).checkpoint == whole.checkpoint


@pytest.mark.parametrize("cached", [True, False])
def test_a_stop_is_heard_in_the_features_of_a_training(digits: Dataset, bench: Workbench, cached: bool) -> None:
    first = keep(bench, FIRST, train_stage(JOB, digits, bench))
    job = replace(JOB, stage=SECOND, prefix=(first,), recipe=replace(JOB.recipe, cached_features=cached))
    control = StopsAt(3)

    with pytest.raises(Stopped):
        train_stage(job, digits, bench, lambda _: pytest.fail("it was trained"), check=control.check)

    assert control.checks == 3


def test_a_stop_is_heard_between_two_batches_of_the_test_set(digits: Dataset, bench: Workbench) -> None:
    first = keep(bench, FIRST, train_stage(replace(JOB, budget=Budget(1)), digits, bench))
    whole, stopped = StopsAt(0), StopsAt(2)
    evaluate_chain([first], digits, "auto", bench, whole.check)
    assert whole.checks == 8, "as many as there are batches of 50 in 360 images"

    with pytest.raises(Stopped):
        evaluate_chain([first], digits, "auto", bench, stopped.check)

    assert stopped.checks == 2


def test_a_diverged_stage_has_no_checkpoint(digits: Dataset, bench: Workbench) -> None:
    result = train_stage(replace(JOB, point=Hyperparameters(1e6, 1e-4)), digits, bench)
    assert result.training.ending is Ending.DIVERGED
    assert result.checkpoint is None


def test_what_does_not_fit_together_is_refused(digits: Dataset, bench: Workbench) -> None:
    first = keep(bench, FIRST, train_stage(replace(JOB, budget=Budget(1)), digits, bench))
    wrong = Stage((Pool(2),), (16, 8, 8), (16, 4, 4))
    with pytest.raises(CheckpointError, match="prefix"):
        train_stage(replace(JOB, stage=wrong, prefix=(first,)), digits, bench)
    with pytest.raises(CheckpointError, match="expected"):
        train_stage(replace(JOB, stage=SECOND, prefix=(FrozenStage(wrong, first.checkpoint),)), digits, bench)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        train_stage(replace(JOB, stage=SECOND, prefix=(FrozenStage(FIRST, "0" * 64),)), digits, bench)
    with pytest.raises(DataError, match="1437"):
        train_stage(replace(JOB, data=DataUse(1400, 100)), digits, bench)
