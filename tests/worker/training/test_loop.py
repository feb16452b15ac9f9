from collections.abc import Callable, Iterator

import pytest
import torch

from worker.training.data import TensorSource
from worker.training.errors import Cancelled, ForeignState, MemoryLimitExceeded, OutOfMemory, Paused, TimeLimitExceeded
from worker.training.loop import Progress, StageTraining, mixed_seed, report_batches
from worker.training.spec import Budget, Command, Ending, Hyperparameters, Limits, Recipe

MakeTraining = Callable[..., StageTraining]


def weights(training: StageTraining) -> list[torch.Tensor]:
    return [value.detach().clone() for value in training.network.parameters()]


def same(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns_and_says_what_it_took(make_training: MakeTraining, precision: str) -> None:
    training = make_training(Recipe(batch_size=20, precision=precision))  # type: ignore[arg-type]
    result = training.run()
    assert result.ending is Ending.COMPLETE
    assert result.validation_accuracy > 0.9
    assert result.training_accuracy > 0.9
    assert result.precision == precision
    assert (result.epochs, result.steps, result.training_accuracy_images) == (2.0, 2 * 17, 330)
    assert result.curve[-1].validation_accuracy == result.validation_accuracy
    assert result.curve[-1].step == result.steps
    assert result.training_seconds > 0
    assert result.evaluation_seconds > 0


def test_nothing_that_is_looked_at_is_larger_than_a_batch(
    make_training: MakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    batch, batches = TensorSource.batch, TensorSource.batches

    def one(source: TensorSource, indices: torch.Tensor) -> torch.Tensor:
        seen.append(len(indices))
        return batch(source, indices)

    def several(source: TensorSource, size: int) -> Iterator[torch.Tensor]:
        for values in batches(source, size):
            seen.append(len(values))
            yield values

    monkeypatch.setattr(TensorSource, "batch", one)
    monkeypatch.setattr(TensorSource, "batches", several)
    make_training(Recipe(batch_size=20)).run()
    assert max(seen) == 20


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_bits(make_training: MakeTraining, precision: str) -> None:
    recipe = Recipe(batch_size=20, precision=precision)  # type: ignore[arg-type]
    one, two, other = make_training(recipe), make_training(recipe), make_training(recipe, seed=1)
    results = [training.run() for training in (one, two, other)]
    assert same(weights(one), weights(two))
    assert results[0].curve == results[1].curve
    assert not same(weights(one), weights(other))


@pytest.mark.parametrize("stop_at", [4, 17, 22])
def test_a_paused_training_continues_to_the_same_bits(make_training: MakeTraining, stop_at: int) -> None:
    whole = make_training(images=1000, recipe=Recipe(batch_size=10), budget=Budget(2))
    expected = whole.run()

    told = 0

    def pause(_: Progress) -> Command:
        nonlocal told
        told += 1
        return Command.PAUSE if told == stop_at // 4 + 1 else Command.CONTINUE

    first = make_training(images=1000, recipe=Recipe(batch_size=10), budget=Budget(2))
    with pytest.raises(Paused) as paused:
        first.run(pause)
    second = make_training(images=1000, recipe=Recipe(batch_size=10), budget=Budget(2), resume=paused.value.state)
    result = second.run()

    assert same(weights(second), weights(whole))
    assert result.curve == expected.curve
    assert result.steps == expected.steps


def test_a_snapshot_taken_on_the_way_continues_to_the_same_bits(make_training: MakeTraining) -> None:
    snapshots: list[bytes] = []

    def keep(progress: Progress) -> Command:
        snapshots.append(progress.snapshot())
        return Command.CONTINUE

    whole = make_training()
    whole.run(keep)
    for state in snapshots:
        resumed = make_training(resume=state)
        resumed.run()
        assert same(weights(resumed), weights(whole))


def test_a_training_with_a_schedule_continues_to_the_same_bits_and_under_its_own_budget_only(
    make_training: MakeTraining,
) -> None:
    recipe = Recipe(batch_size=20, schedule="cosine")
    whole, constant = make_training(recipe), make_training(Recipe(batch_size=20))
    whole.run()
    constant.run()
    with pytest.raises(Paused) as paused:
        make_training(recipe).run(lambda _: Command.PAUSE)
    resumed = make_training(recipe, resume=paused.value.state)
    resumed.run()
    assert same(weights(resumed), weights(whole))
    assert not same(weights(constant), weights(whole))
    with pytest.raises(ForeignState, match="another training"):
        make_training(recipe, budget=Budget(3), resume=paused.value.state)


def test_a_state_from_before_there_were_schedules_goes_on(make_training: MakeTraining) -> None:
    """Its recipe had no schedule to name."""
    assert "schedule" not in make_training().identity["recipe"]  # type: ignore[operator]
    assert "schedule" in make_training(Recipe(schedule="cosine")).identity["recipe"]  # type: ignore[operator]


def test_every_layer_keeps_its_share_of_a_scheduled_rate(make_training: MakeTraining) -> None:
    point = Hyperparameters(0.01, 1e-4, (("learning_rate_1", 0.02),))
    training = make_training(Recipe(batch_size=20, schedule="cosine"), point, Budget(1))
    rates: list[list[float]] = []

    def listen(_: Progress) -> Command:
        rates.append([group["lr"] for group in training.optimizer.param_groups])
        return Command.CONTINUE

    training.run(listen)
    last = rates[-1]
    assert max(last) == pytest.approx(2 * min(last))
    assert 0 < max(last) < 0.02 / 50


def test_the_state_of_another_training_is_refused(make_training: MakeTraining) -> None:
    with pytest.raises(Paused) as paused:
        make_training().run(lambda _: Command.PAUSE)
    with pytest.raises(ForeignState, match="another training"):
        make_training(seed=1, resume=paused.value.state)
    with pytest.raises(ForeignState):
        make_training(resume=b"\xff" * 100)


def test_progress_rises_to_the_whole(make_training: MakeTraining) -> None:
    told: list[Progress] = []

    def listen(progress: Progress) -> Command:
        told.append(progress)
        return Command.CONTINUE

    make_training().run(listen)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert told[-1].validation_accuracy is not None


def test_a_pruned_training_has_figures_up_to_there(make_training: MakeTraining) -> None:
    result = make_training(budget=Budget(5)).run(lambda _: Command.PRUNE)
    assert result.ending is Ending.PRUNED
    assert result.epochs < 5
    assert result.validation_accuracy == result.curve[-1].validation_accuracy


def test_a_cancelled_training_ends_with_an_error(make_training: MakeTraining) -> None:
    with pytest.raises(Cancelled):
        make_training().run(lambda _: Command.CANCEL)


@pytest.mark.parametrize("rate", [1e3, 1e20, 1e38])
def test_divergence_is_an_outcome_at_chance_accuracy(make_training: MakeTraining, rate: float) -> None:
    result = make_training(point=Hyperparameters(rate, 1e-4), budget=Budget(50)).run()
    assert result.ending is Ending.DIVERGED
    assert result.validation_accuracy == result.training_accuracy == 0.5
    assert result.epochs < 50


def test_more_memory_than_allowed_is_a_typed_failure(make_training: MakeTraining) -> None:
    with pytest.raises(MemoryLimitExceeded, match=r"limits\.memory"):
        make_training(budget=Budget(1, Limits(memory=10_000))).run()


def test_more_memory_than_there_is_is_a_typed_failure(make_training: MakeTraining) -> None:
    with pytest.raises(OutOfMemory):
        make_training(Recipe(batch_size=10**11)).run()


def test_more_time_than_allowed_is_a_typed_failure(make_training: MakeTraining) -> None:
    with pytest.raises(TimeLimitExceeded, match="allowed"):
        make_training(budget=Budget(1000, Limits(time=1e-9))).run()


def test_reports_come_in_quarters_only_where_validation_is_cheap() -> None:
    assert report_batches(980, 49_000, 1_000) == {245, 490, 735, 980}
    assert report_batches(900, 45_000, 5_000) == {900}
    assert report_batches(2, 100_000, 1) == {1, 2}


def test_a_pruner_gets_quarters_whatever_they_cost() -> None:
    assert report_batches(900, 45_000, 5_000, pruned=True) == {225, 450, 675, 900}


def test_mixed_seeds_differ_in_every_part() -> None:
    assert len({mixed_seed("order", seed, epoch) for seed in range(10) for epoch in range(10)}) == 100
    assert 0 <= mixed_seed("a") < 2**63
