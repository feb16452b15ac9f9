"""Frozen features that are larger than limits.memory, or found no room in memory, are no surprise."""

from dataclasses import replace

import pytest

from service.domain.experiment import ExperimentSpec
from service.domain.frozen_features import planned
from service.domain.plan import plan_experiment
from service.domain.states import FeaturePlace
from tests.service.domain.reports import Facts, Understand, facts, tell, training

MIB = 2**20
NETWORK = {"A": ["Conv-3-8", "Conv-3-16 Pool-2", "Conv-3-8"]}


def kept(searches: Facts, *sizes: int) -> Facts:
    """The searches with so many bytes resident."""
    return {
        key: replace(search, incumbent=replace(training(0.5), resident_bytes=size))
        for (key, search), size in zip(searches.items(), sizes, strict=True)
    }


@pytest.fixture
def spec(understand: Understand) -> ExperimentSpec:
    """Searches: A total, and A's three stages."""
    return understand(architectures=NETWORK, limits={"memory": "40MiB"})


def test_a_plan_says_what_the_largest_features_take(spec: ExperimentSpec) -> None:
    plan = plan_experiment(spec)

    # 50,000 images of 8 x 32 x 32 before the second stage; of 16 x 16 x 16 before the third.
    (note,) = planned(spec, plan)
    assert note == (
        "limits.memory, 40.0 MiB, bounds what a training takes. Frozen features are kept apart from that, in memory or "
        "on disk, and take up to 1,562.5 MiB for A partial; `training.features: recomputed` does without them, for "
        "more time."
    )
    half = replace(spec, recipe=replace(spec.recipe, precision="bfloat16"))
    assert " 781.2 MiB for A partial" in next(planned(half, plan))


@pytest.mark.parametrize(
    "wishes",
    [
        {},
        {"limits": {"memory": "2GiB"}},
        {"limits": {"memory": "40MiB"}, "training": {"features": "recomputed"}},
        {"limits": {"memory": "40MiB"}, "variants": [{"architecture": "A", "learning": "total"}]},
    ],
)
def test_a_plan_says_nothing_where_there_is_no_surprise(understand: Understand, wishes: dict[str, object]) -> None:
    spec = understand(architectures=NETWORK, **wishes)

    assert list(planned(spec, plan_experiment(spec))) == []


def test_a_report_says_what_stood_in_memory_beside_the_images(spec: ExperimentSpec) -> None:
    searches = facts(plan_experiment(spec), [0.5] * 4)

    def told(*sizes: int) -> list[str]:
        return [note for note in tell(spec, kept(searches, *sizes)).notes if "limits.memory" in note]

    images = 146 * MIB
    assert told(images, images, images + 30 * MIB, images + 39 * MIB) == []
    (note,) = told(images, images, images + 41 * MIB, images + 30 * MIB)
    assert note.startswith("limits.memory, 40.0 MiB, bounds what a training takes. Frozen features stood in memory")
    assert "took 41.0 MiB for A partial; " in note


def test_without_a_limit_a_report_says_nothing(understand: Understand) -> None:
    spec = understand(architectures=NETWORK)
    searches = kept(facts(plan_experiment(spec), [0.5] * 4), *[MIB, MIB, 2**40, 2**40])

    assert not any("limits.memory" in note for note in tell(spec, searches).notes)


MEMORY, DISK, RECOMPUTED = FeaturePlace


def placed(searches: Facts, *places: dict[FeaturePlace, int]) -> Facts:
    """The searches with so many trainings that had their features in each place."""
    return {key: replace(search, features=found) for (key, search), found in zip(searches.items(), places, strict=True)}


def about_room(spec: ExperimentSpec, *places: dict[FeaturePlace, int]) -> list[str]:
    report = tell(spec, placed(facts(plan_experiment(spec), [0.5] * 4), *places))
    return [note for note in report.notes if "had no room" in note]


def test_a_report_says_whose_features_were_not_in_memory(understand: Understand) -> None:
    spec = understand(architectures=NETWORK)

    assert about_room(spec, {}, {}, {MEMORY: 10}, {MEMORY: 10}) == []
    (note,) = about_room(spec, {}, {}, {MEMORY: 7, DISK: 2, RECOMPUTED: 1}, {RECOMPUTED: 10})
    assert note == (
        "Workers' memory had no room for the frozen features that these stages read, which takes longer: A partial, "
        "stage 2: 2 of 10 trainings from disk and 1 of 10 trainings recomputed for every batch; A partial, stage 3: "
        "10 of 10 trainings recomputed for every batch. Training and search times, their ratios and what "
        "`budget: seconds` allows depend on that; accuracies do not."
    )


def test_a_search_that_variants_share_is_counted_once(understand: Understand) -> None:
    shared = ["Conv-3-8", "Conv-3-4"]
    architectures = {"A": shared, "B": [*shared, "Pool-2"]}
    phases = [{"epochs": 1, "trials": 5}, {"epochs": 2, "trials": 5}]
    spec = understand(architectures=architectures, phases=phases)
    plan = plan_experiment(spec)
    found = facts(plan, [0.5] * len(plan.searches))
    path = next(item.path for item in plan.variants if item.variant.label == "B partial" and item.phase == 1)
    for key in path[1:]:
        found[key] = replace(found[key], features={DISK: 5})

    (note,) = (note for note in tell(spec, found).notes if "had no room" in note)
    assert (
        "takes longer: A partial, phase 2 and B partial, phase 2, stage 2: 5 of 5 trainings from disk; B partial, "
        "phase 2, stage 3: 5 of 5 trainings from disk. "
    ) in note


def test_features_that_were_to_be_recomputed_are_no_surprise(understand: Understand) -> None:
    spec = understand(architectures=NETWORK, training={"features": "recomputed"})

    assert about_room(spec, {}, {}, {RECOMPUTED: 10}, {RECOMPUTED: 10}) == []


def test_a_search_on_every_seed_counts_its_trainings_on_all(understand: Understand) -> None:
    spec = understand(architectures=NETWORK, seeds=[0, 1], search={"seeds": "each"})
    plan = plan_experiment(spec)
    found = facts(plan, [0.5] * len(plan.searches))
    second = [search.key for search in plan.searches if search.depth == 1]
    for key, place in zip(second, (MEMORY, DISK), strict=True):
        found[key] = replace(found[key], features={place: 10})

    report = tell(spec, found)
    partial = next(line for line in report.variants if line.label == "A partial")
    assert partial.stages[1].features == {MEMORY: 10, DISK: 10}
    assert any("A partial, stage 2: 10 of 20 trainings from disk. " in note for note in report.notes)
