from collections.abc import Callable
from dataclasses import replace

import pytest

from service.domain.experiment import ExperimentSpec, Split
from service.domain.notation import parse
from service.domain.published import LINES, NETWORKS, PublishedLine, follows_protocol, published
from service.domain.states import Learning, Objective, Sampler, Schedule, Scheme


def test_both_tables_have_all_eight_networks_with_a_point_for_every_stage() -> None:
    for table, epochs in ((2, 1), (3, 2)):
        lines = [line for line in LINES if line.table == table]
        assert [line.architecture for line in lines] == list(NETWORKS)
        assert {line.epochs for line in lines} == {epochs}
        for line in lines:
            assert len(line.learning_rates) == len(line.regularizations) == len(NETWORKS[line.architecture])


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"table {line.table}, {line.architecture}")
def test_a_line_is_found_by_its_networks_cuts(line: PublishedLine) -> None:
    stages = [parse(text) for text in NETWORKS[line.architecture]]
    ran, other = Learning.TOTAL, Learning.PARTIAL
    if line.architecture != "CNN 1":
        ran, other = other, ran

    assert published(stages, ran, line.epochs) == line
    assert published(stages, other, line.epochs) is None
    assert published(stages, ran, 3) is None


def test_what_the_paper_did_not_train_has_no_line() -> None:
    assert published([parse("Conv-3-64 Conv-3-32 Pool-2")], Learning.TOTAL, 1) is None
    assert published([parse("Conv-3-32 Conv-3-32"), parse("Pool-2")], Learning.PARTIAL, 1) is None


def test_lines_are_as_printed() -> None:
    dead, best = (
        next(line for line in LINES if (line.table, line.architecture) == wanted)
        for wanted in ((2, "CNN 7"), (3, "CNN 5"))
    )

    assert (dead.learning_rates, dead.validation_accuracy) == ((0.000547, 0.000111, 0.0), 0.127)
    assert (best.regularizations, best.seconds, best.training_accuracy) == ((0.078767, 0.004098), 5709.78, 0.677)


@pytest.fixture
def spec(understand: Callable[..., ExperimentSpec]) -> ExperimentSpec:
    """The paper's protocol with a search of our own."""
    return understand(
        dataset={"name": "cifar10", "train": 49_000, "validation": 1_000, "preprocessing": "mean-image"},
        training={"standardize_inputs": False, "momentum": 0.0, "schedule": "constant"},
    )


def test_the_search_and_what_the_paper_leaves_open_may_differ(spec: ExperimentSpec) -> None:
    other = replace(spec, search=replace(spec.search, sampler=Sampler.RANDOM_EXPONENTIAL), seeds=(0, 1))

    assert follows_protocol(spec)
    assert follows_protocol(replace(other, recipe=replace(spec.recipe, momentum=0.9, initialization="he")))


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: replace(spec, dataset=replace(spec.dataset, name="cifar100")),
        lambda spec: replace(spec, split=Split(45_000, 5_000, "mean-image")),
        lambda spec: replace(spec, split=Split(49_000, 1_000, "standardize")),
        lambda spec: replace(spec, recipe=replace(spec.recipe, batch_size=128)),
        lambda spec: replace(spec, recipe=replace(spec.recipe, head="mlp")),
        lambda spec: replace(spec, recipe=replace(spec.recipe, objective=Objective.CONTRASTIVE)),
        lambda spec: replace(spec, recipe=replace(spec.recipe, standardize_inputs=True)),
        lambda spec: replace(spec, recipe=replace(spec.recipe, schedule=Schedule.COSINE)),
        lambda spec: replace(spec, search=replace(spec.search, scheme=Scheme.PER_LAYER)),
    ],
)
def test_whoever_trains_otherwise_is_not_held_against_the_paper(
    spec: ExperimentSpec, change: Callable[[ExperimentSpec], ExperimentSpec]
) -> None:
    assert not follows_protocol(change(spec))
