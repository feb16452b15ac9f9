"""What an evaluation says of every stage's features."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worker.conftest import USE, StopsAt
from worker.checkpoints import CheckpointStore
from worker.control import Control, Stopped
from worker.data import DataError, Dataset
from worker.probes import Averaged, nearest_classes, probe_chain
from worker.stage_training import DataUse, FrozenStage, Workbench, evaluate_chain
from worker.training.data import Labelled, TensorSource
from worker.training.network import InputStatistics

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")


def points(*positions: float) -> TensorSource:
    """One feature each."""
    return TensorSource(torch.tensor(positions).reshape(-1, 1, 1, 1), CPU)


def test_every_stage_is_measured_by_its_head_and_by_its_neighbours(
    digits: Dataset, store: CheckpointStore, chain: list[FrozenStage]
) -> None:
    bench = Workbench(CPU, store)
    tested = evaluate_chain(chain, digits, "auto", bench)

    first, second = probe_chain(chain, tested, digits, USE, "auto", bench, Control())

    assert first.head_accuracy == evaluate_chain(chain[:1], digits, "auto", bench).test_accuracy
    assert second.head_accuracy == tested.test_accuracy
    assert first.knn_accuracy > 0.85
    assert second.knn_accuracy > 0.85


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_wherever_features_are_kept_the_figures_are_the_same(
    digits: Dataset, store: CheckpointStore, chain: list[FrozenStage], tmp_path: Path, precision: str
) -> None:
    found = set()
    for directory, size in ((None, 1 << 30), (None, 0), (tmp_path, 0)):
        bench = Workbench(CPU, store, directory, size)
        tested = evaluate_chain(chain, digits, precision, bench)  # type: ignore[arg-type]
        found.add(probe_chain(chain, tested, digits, USE, precision, bench, Control()))  # type: ignore[arg-type]

    assert len(found) == 1


def test_neither_validation_nor_test_images_are_neighbours(
    digits: Dataset, store: CheckpointStore, chain: list[FrozenStage]
) -> None:
    bench = Workbench(CPU, store)
    tested = evaluate_chain(chain, digits, "auto", bench)
    labels = digits.labels.copy()
    labels[USE.train : digits.info.train] = 0
    mislabelled = replace(digits, labels=labels, info=replace(digits.info, digest="0" * 64))

    probes = [
        probe_chain(chain, tested, dataset, USE, "auto", Workbench(CPU, store), Control())
        for dataset in (digits, mislabelled)
    ]

    assert probes[0] == probes[1]
    with pytest.raises(DataError, match="1437"):
        probe_chain(chain, tested, digits, DataUse(1400, 100), "auto", bench, Control())


def test_a_stop_ends_it_between_two_stages(digits: Dataset, store: CheckpointStore, chain: list[FrozenStage]) -> None:
    class Told(Control):
        def advance(self, fraction: float) -> None:
            if fraction > 0:
                self.command("pause")
            super().advance(fraction)

    bench, control = Workbench(CPU, store), Told()
    tested = evaluate_chain(chain, digits, "auto", bench)
    with pytest.raises(Stopped):
        probe_chain(chain, tested, digits, USE, "auto", bench, control)

    assert control.fraction == 0.5


def test_a_stop_is_heard_within_a_stage(digits: Dataset, store: CheckpointStore, chain: list[FrozenStage]) -> None:
    bench = Workbench(CPU, store)
    tested = evaluate_chain(chain, digits, "auto", bench)
    whole = StopsAt(0)
    probe_chain(chain, tested, digits, USE, "auto", Workbench(CPU, store), whole)
    # Two stages of blocks of 50: the neighbours' 1,200 images and the test set's 360.
    assert whole.checks > 2 * (24 + 8)

    for number in (2, 10, 30, whole.checks):
        stopped = StopsAt(number)
        with pytest.raises(Stopped):
            probe_chain(chain, tested, digits, USE, "auto", Workbench(CPU, store), stopped)
        assert stopped.checks == number


@pytest.mark.parametrize("block_bytes", [1 << 20, 40 * 12 * 4])
def test_the_nearest_are_those_of_a_search_by_hand(monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    monkeypatch.setattr("worker.probes.BLOCK_BYTES", block_bytes)
    monkeypatch.setattr("worker.probes.QUERIES", 30)
    generator = torch.Generator().manual_seed(0)
    known = torch.randint(0, 4, (500, 2, 2, 3), generator=generator).float() * torch.tensor([1.0, 4.0, 16.0])
    asked = torch.randint(0, 4, (70, 2, 2, 3), generator=generator).float() * torch.tensor([1.0, 4.0, 16.0])
    labels = torch.randint(0, 5, (500,), generator=generator)
    statistics = InputStatistics(torch.full((3, 1, 1), 1.0), torch.tensor([1.0, 4.0, 16.0]).reshape(3, 1, 1))

    bank = Labelled(TensorSource(known, CPU), labels)
    told = nearest_classes(bank, TensorSource(asked, CPU), statistics, torch.float32)

    scale = np.array([1.0, 4.0, 16.0])
    for row, query in zip(told.tolist(), asked.numpy(), strict=True):
        distances = (((known.numpy() - query) / scale) ** 2).sum((1, 2, 3))
        classes = labels.numpy()[np.argsort(distances, kind="stable")[:20]]
        votes = np.bincount(classes)
        assert row == next(found for found in classes if votes[found] == votes.max())


def test_features_are_averaged_over_a_grid_and_small_maps_stay_as_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    large, small = torch.rand((3, 8, 12, 5), generator=generator), torch.rand((3, 4, 2, 5), generator=generator)

    means = Averaged(TensorSource(large.bfloat16(), CPU))
    expected = large.bfloat16().float().reshape(3, 4, 2, 4, 3, 5).mean((2, 4))
    torch.testing.assert_close(means.kept(CPU).values, expected)
    torch.testing.assert_close(torch.cat(list(means.batches(2))), expected.permute(0, 3, 1, 2))
    torch.testing.assert_close(means.batch(torch.tensor([2])), expected[2:].permute(0, 3, 1, 2))
    assert torch.equal(Averaged(TensorSource(small, CPU)).kept(CPU).values, small)


def test_as_many_votes_go_to_the_nearer_class() -> None:
    bank = Labelled(points(1.0, 2.0, 3.0, 4.0), torch.tensor([2, 0, 0, 2]))
    statistics = InputStatistics.identity(1)

    assert nearest_classes(bank, points(0.0, 5.0, 2.5), statistics, torch.float32).tolist() == [2, 2, 0]


def test_of_two_equally_near_the_first_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.probes.NEIGHBOURS", 1)
    labels = torch.tensor([3, 1, 0])
    statistics = InputStatistics.identity(1)

    for positions, said in (((1.0, -1.0, 1.0), 3), ((5.0, 1.0, -1.0), 1)):
        bank = Labelled(points(*positions), labels)
        assert nearest_classes(bank, points(0.0), statistics, torch.float32).tolist() == [said]


def test_the_quick_products_leave_no_setting_behind() -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    bank = Labelled(points(1.0, 2.0), torch.tensor([0, 1]))

    assert nearest_classes(bank, points(1.0, 2.0), InputStatistics.identity(1), torch.bfloat16).tolist() == [0, 1]

    assert torch.backends.mkldnn.matmul.fp32_precision == before  # type: ignore[attr-defined]
