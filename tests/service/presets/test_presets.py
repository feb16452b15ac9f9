from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import service
from contract.submission import Submission
from contract.tasks import StageShape
from service.domain.experiment import Dataset, ExperimentSpec, Phase, Split, Variant
from service.domain.notation import write
from service.domain.plan import Plan, PlannedSearch, plan_experiment
from service.domain.published import NETWORKS, published
from service.domain.space import EXPONENTIAL_SPACE, Point
from service.domain.states import BudgetRule, Learning, Pruner, Sampler, Schedule
from service.domain.submission import build_spec
from service.presets import list_presets
from worker.stages import stage_of
from worker.training.memory import training_memory
from worker.training.network import StageNetwork
from worker.training.spec import Recipe

PRESETS = {path.stem: path for path in (Path(service.__file__).parent / "presets").glob("*.yaml")}
DATASETS = {
    "digits": Dataset("digits", "d" * 64, (1, 8, 8), 10, 1_437, 360),
    "cifar10": Dataset("cifar10", "c" * 64, (3, 32, 32), 10, 50_000, 10_000),
}
PARTIAL = ["CNN 1 total", *(f"CNN {number} partial" for number in range(2, 9))]


def load(name: str) -> ExperimentSpec:
    submission = Submission.model_validate(yaml.safe_load(PRESETS[name].read_text()))
    assert submission.name == name
    return build_spec(submission.model_dump(), DATASETS[submission.dataset.name])


def counts(plan: Plan) -> tuple[int, int, int, int]:
    return len(plan.searches), plan.trials, plan.fits, plan.evaluations


def labels(spec: ExperimentSpec) -> list[str]:
    return [variant.label for variant in spec.variants]


def test_the_presets_are_listed_with_a_line_on_each() -> None:
    listed = list_presets()

    assert [preset.name for preset in listed] == [
        "demo", "memory-limit", "paper", "paper-cnn-1", "table-1", "thorough", "viable", "viable-fair"
    ]  # fmt: skip
    assert all(20 < len(preset.summary) < 120 for preset in listed)


@pytest.mark.parametrize(
    ("name", "searches", "trials", "fits", "evaluations"),
    [
        ("demo", 12, 12 * 6, 0, 8),
        ("memory-limit", 7, 7 * 11, 7 * 2, 6 * 3),
        ("paper", 3 * 12, 12 * (11 + 6 + 6), 0, 3 * 8),
        ("paper-cnn-1", 1, 1, 4, 5),
        ("table-1", 12, 12 * 11, 0, 8),
        # Second rounds are among the trials: they may come.
        ("thorough", 5, 5 * (20 + 10), 5 * 2, 5 * 3),
        # CNN 1 total is also that of CNN 2, and the first stage of CNN 6 and 8.
        ("viable", 18, 18 * 11, 18 * 4, 14 * 5),
        # Twelve searches for Partial; nine of Total for CNN 6 and 8, three of which spend seconds, one for the others.
        ("viable-fair", 12 + 2 * 9 + 5, 29 * 11 + 6 * 110, 35 * 4, 30 * 5),
    ],
)
def test_what_a_preset_plans(name: str, searches: int, trials: int, fits: int, evaluations: int) -> None:
    assert counts(plan_experiment(load(name))) == (searches, trials, fits, evaluations)


@pytest.mark.parametrize("name", PRESETS)
def test_the_rate_is_constant_where_the_paper_has_it_so_and_falls_elsewhere(name: str) -> None:
    expected = Schedule.CONSTANT if name in ("paper", "paper-cnn-1") else Schedule.COSINE

    assert load(name).recipe.schedule is expected


@pytest.mark.parametrize("name", ["demo", "table-1", "paper"])
def test_the_papers_networks_are_as_it_trained_them(name: str) -> None:
    spec = load(name)

    assert labels(spec) == PARTIAL
    assert {item.name: tuple(write(stage) for stage in item.stages) for item in spec.architectures} == NETWORKS


def test_paper_is_the_papers_protocol() -> None:
    spec = load("paper")

    assert spec.split == Split(49_000, 1_000, "mean-image")
    assert spec.phases == (Phase(1, 11), Phase(2, 6), Phase(2, 6, from_incumbents=False))
    assert (spec.search.sampler, spec.search.initial) == (Sampler.RANDOM_EXPONENTIAL, Point(1e-4, 1.0))
    assert (spec.search.space, spec.search.enqueue) == (EXPONENTIAL_SPACE, ())
    assert (spec.recipe.batch_size, spec.recipe.momentum, spec.recipe.head) == (50, 0.9, "linear")
    assert (spec.recipe.initialization, spec.recipe.standardize_inputs) == ("torch", False)


def test_every_line_of_paper_has_a_published_one() -> None:
    spec = load("paper")
    stages = {item.name: item.stages for item in spec.architectures}

    for phase in spec.phases:
        for variant in spec.variants:
            line = published(stages[variant.architecture], variant.learning, phase.epochs)
            assert line is not None
            assert line.architecture == variant.architecture


def test_only_searches_of_incumbents_wait_for_an_earlier_phase() -> None:
    searches = plan_experiment(load("paper")).searches

    assert [sum(s.phase == number and s.earlier is not None for s in searches) for number in range(3)] == [0, 12, 0]


def test_viable_is_both_learnings_of_every_network_with_nothing_picked_by_hand() -> None:
    spec = load("viable")

    both = [f"CNN {number} {learning}" for number in range(2, 9) for learning in Learning]
    assert labels(spec) == ["CNN 1 total", *both]
    assert {item.name: tuple(write(stage) for stage in item.stages) for item in spec.architectures} == NETWORKS
    assert spec.split == Split(45_000, 5_000, "standardize")
    assert (spec.phases, spec.seeds) == ((Phase(1, 11),), (0, 1, 2, 3, 4))
    assert (spec.search.sampler, spec.search.enqueue) == (Sampler.AUTO, ())
    assert (spec.recipe.initialization, spec.recipe.standardize_inputs) == ("torch", True)


def test_thorough_leaves_no_safeguard_of_the_search_out() -> None:
    spec = load("thorough")
    plan = plan_experiment(spec)

    assert labels(spec) == ["CNN 1 total", "CNN 6 total", "CNN 6 partial", "CNN 8 total", "CNN 8 partial"]
    assert (spec.search.pruner, spec.search.range_test) == (Pruner.MEDIAN, True)
    assert (spec.search.second_round, spec.search.confirm_seeds) == (10, 2)
    # Confirmations are made again after a second round.
    assert (plan.least_trials, plan.range_tests, plan.confirmations) == (5 * 20, 5, 5 * 2 * 2 * 2)


def test_viable_fair_gives_total_every_budget_and_takes_over_what_viable_has_trained() -> None:
    spec = load("viable-fair")
    for network in ("CNN 6", "CNN 8"):
        partial, *totals = (variant for variant in spec.variants if variant.architecture == network)
        assert partial == Variant(network, Learning.PARTIAL)
        assert totals == [
            replace(kind, budget=budget)
            for kind in (
                Variant(network, Learning.TOTAL),
                Variant(network, Learning.TOTAL, checkpointing=True),
                Variant(network, Learning.TOTAL, normalize_cuts=True),
            )
            for budget in (BudgetRule.EPOCHS, BudgetRule.PASSES, BudgetRule.SECONDS)
        ]
    for network in NETWORKS.keys() - {"CNN 1"}:
        at_its_best = Variant(network, Learning.TOTAL, BudgetRule.PASSES, normalize_cuts=True)
        assert {Variant(network, Learning.PARTIAL), at_its_best} <= set(spec.variants)
    common = {search.key for search in plan_experiment(spec).searches} & {
        search.key for search in plan_experiment(load("viable")).searches
    }
    assert len(common) == 12 + 2, "every stage of Partial, and CNN 6 and 8 under Total at equal epochs"


def test_memory_limit_refuses_the_large_network_to_total_alone() -> None:
    spec = load("memory-limit")
    plan = plan_experiment(spec)
    searches = {search.key: search for search in plan.searches}
    largest = {
        planned.variant.label: max(memory(searches[key]) for key in planned.path) / 2**20 for planned in plan.variants
    }

    assert (spec.limits.memory, spec.recipe.batch_size, spec.recipe.precision) == (16 * 2**20, 50, "bfloat16")
    assert {label for label, needed in largest.items() if needed > 16} == {"Wide total", "Wide total, checkpointed"}
    # As its comment has them.
    assert largest["Wide total"] == pytest.approx(23.1, abs=0.1)
    assert largest["Wide total, checkpointed"] == pytest.approx(17.8, abs=0.1)
    assert largest["Wide partial"] == pytest.approx(14.8, abs=0.1)


def memory(search: PlannedSearch) -> int:
    """What a worker measures before a training of the search, and holds against the limit."""
    stage = stage_of(StageShape.model_validate(search.stage, from_attributes=True))
    network = StageNetwork(stage, classes=10)
    network.segments = search.segments
    inputs = torch.bfloat16 if search.prefix else torch.uint8
    recipe = Recipe(batch_size=50, precision="bfloat16")
    figures = training_memory(network, recipe, inputs, torch.bfloat16, torch.device("cpu"), None)
    return max(figures.peak_bytes, figures.analytic_bytes)
