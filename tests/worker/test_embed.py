"""Pictures of the features of every stage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load
from sklearn.neighbors import KNeighborsClassifier

from worker.checkpoints import CheckpointStore
from worker.control import Control, Stopped, TaskFailed
from worker.data import Dataset
from worker.embed import Values, embed_chain, picture, stratified
from worker.stage_training import FrozenStage, Workbench

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")


@pytest.fixture
def bench(store: CheckpointStore, tmp_path: Path) -> Workbench:
    return Workbench(CPU, store, tmp_path)


def test_every_stage_gets_a_picture_of_the_same_points(
    digits: Dataset, bench: Workbench, chain: list[FrozenStage]
) -> None:
    made = embed_chain(chain, digits, 150, 10, "auto", bench, Control())

    assert made.points == 150
    assert [(stage.dimensions, stage.components) for stage in made.stages] == [(256, 50), (16, 16)]
    tensors = load(made.content)
    assert sorted(tensors) == ["images", "labels", "stage-1", "stage-2"]
    assert {value.dtype for value in tensors.values()} == {torch.float32}
    images, labels = tensors["images"].long(), tensors["labels"].long()
    assert digits.labels[digits.info.train :][images.numpy()].tolist() == labels.tolist()
    for name in ("stage-1", "stage-2"):
        coordinates = tensors[name].numpy()
        assert coordinates.shape == (150, 2)
        neighbours = KNeighborsClassifier(5).fit(coordinates[::2], labels[::2])
        assert neighbours.score(coordinates[1::2], labels[1::2]) > 0.6, "what belongs together lies together"


def test_the_same_points_give_the_same_picture(
    digits: Dataset, store: CheckpointStore, chain: list[FrozenStage]
) -> None:
    contents = {
        embed_chain(chain[:1], digits, 60, 5, "auto", Workbench(CPU, store, None, size), Control()).content
        for size in (0, 1 << 30)
    }

    assert len(contents) == 1


def test_points_are_shared_fairly_among_the_classes() -> None:
    labels = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)[torch.randperm(1000, generator=torch.manual_seed(0))]

    picked = stratified(labels, 100)

    assert torch.bincount(labels[picked]).tolist() == [60, 30, 10]
    assert picked.tolist() == sorted(set(picked.tolist()))
    assert stratified(labels, 5_000).tolist() == list(range(1000)), "all, where there are not so many"


def test_too_few_points_for_the_perplexity_are_refused(
    digits: Dataset, bench: Workbench, chain: list[FrozenStage]
) -> None:
    with pytest.raises(TaskFailed, match=r"ask for 91 points or more, or a perplexity of at most 29\.7") as failed:
        embed_chain(chain, digits, 90, 30, "auto", bench, Control())
    assert failed.value.reason == "user-error"
    with pytest.raises(TaskFailed, match="360 points are too few"):
        embed_chain(chain, digits, 5_000, 200, "auto", bench, Control())


def test_a_stop_ends_it_in_the_middle_of_a_stage(digits: Dataset, bench: Workbench, chain: list[FrozenStage]) -> None:
    class Impatient(Control):
        checks = 0

        def check(self) -> None:
            self.checks += 1
            if self.checks == 3:
                self.command("drain")
            super().check()

    control = Impatient()
    with pytest.raises(Stopped, match="drain"):
        embed_chain(chain, digits, 60, 5, "auto", bench, control)

    assert control.fraction == 0


@pytest.mark.parametrize("varying", [0, 1])
def test_features_that_hardly_vary_have_a_picture_all_the_same(varying: int) -> None:
    values: Values = np.zeros((40, 8), dtype=np.float32)
    values[:, 3] = np.arange(40) * varying

    coordinates, components = picture(values, 5, Control())

    assert components == 1
    assert coordinates.dtype == np.float32
    assert coordinates.tolist() == [[number * varying, 0] for number in range(40)]
