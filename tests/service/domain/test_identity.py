from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from service.domain import identity
from service.domain.experiment import ExperimentSpec, Limits, Phase, Split
from service.domain.identity import Place, search_key
from service.domain.plan import plan_experiment
from service.domain.space import DEFAULT_SPACE, Interval, Point
from service.domain.states import Pruner, Sampler, Schedule, Scheme

Understand = Callable[..., ExperimentSpec]


def key(spec: ExperimentSpec, **changes: Any) -> str:
    stage = plan_experiment(spec).searches[0].stage
    salt = changes.pop("salt", None)
    return search_key(spec, replace(Place(spec.phases[0], stage, spec.seeds[0]), **changes), salt)


def test_the_same_specification_has_the_same_key_whatever_its_names(understand: Understand) -> None:
    spec = understand()
    other = replace(spec, name="other", priority=5, reuse=False, seeds=(0, 1, 2))
    renamed = replace(spec, dataset=replace(spec.dataset, name="cifar"))
    assert key(spec) == key(other) == key(renamed)


def test_the_initial_point_counts_only_where_it_is_used(understand: Understand) -> None:
    spec = understand()
    elsewhere = replace(spec, search=replace(spec.search, initial=Point(1.0, 1.0)))
    assert key(spec) == key(elsewhere)
    exponential, moved = (
        replace(each, search=replace(each.search, sampler=Sampler.RANDOM_EXPONENTIAL)) for each in (spec, elsewhere)
    )
    assert key(exponential) != key(moved)


def test_factors_count_only_where_layers_are_their_multiples(understand: Understand) -> None:
    spec = understand()
    wider = replace(spec, search=replace(spec.search, learning_rate_factor=Interval(0.1, 10)))
    assert key(spec) == key(wider)
    geometric, other = (replace(each, search=replace(each.search, scheme=Scheme.GEOMETRIC)) for each in (spec, wider))
    assert key(geometric) != key(other)


def test_what_is_noise_counts_only_where_it_brings_a_second_round(
    understand: Understand, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = understand()
    twice = replace(spec, search=replace(spec.search, second_round=3))
    before = key(spec), key(twice)
    monkeypatch.setattr(identity, "NOISE_ERRORS", 1.0)
    assert key(spec) == before[0]
    assert key(twice) != before[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: replace(spec, dataset=replace(spec.dataset, digest="0" * 64)),
        lambda spec: replace(spec, split=Split(48_000, 1_000, "standardize")),
        lambda spec: replace(spec, split=replace(spec.split, preprocessing="mean-image")),
        lambda spec: replace(spec, recipe=replace(spec.recipe, momentum=0.8)),
        lambda spec: replace(spec, recipe=replace(spec.recipe, standardize_inputs=False)),
        lambda spec: replace(spec, recipe=replace(spec.recipe, schedule=Schedule.CONSTANT)),
        lambda spec: replace(spec, search=replace(spec.search, sampler=Sampler.TPE)),
        lambda spec: replace(spec, search=replace(spec.search, enqueue=(Point(0.01, 0.01),))),
        lambda spec: replace(
            spec,
            search=replace(spec.search, space=replace(DEFAULT_SPACE, learning_rate=DEFAULT_SPACE.regularization)),
        ),
        lambda spec: replace(spec, search=replace(spec.search, pruner=Pruner.MEDIAN)),
        lambda spec: replace(spec, search=replace(spec.search, range_test=True)),
        lambda spec: replace(spec, search=replace(spec.search, second_round=3)),
        lambda spec: replace(spec, search=replace(spec.search, confirm_seeds=1)),
        lambda spec: replace(spec, search=replace(spec.search, scheme=Scheme.PER_LAYER)),
        lambda spec: replace(spec, seeds=(1,)),
        lambda spec: replace(spec, limits=Limits(memory=2**30)),
        lambda spec: replace(spec, limits=Limits(time=60)),
    ],
)
def test_everything_that_determines_a_search_changes_its_key(
    understand: Understand, change: Callable[[ExperimentSpec], ExperimentSpec]
) -> None:
    spec = understand()
    assert key(change(spec)) != key(spec)


def test_budget_prefix_phase_before_and_salt_count(understand: Understand) -> None:
    spec = understand()
    keys = [
        key(spec),
        key(spec, phase=Phase(2, 11)),
        key(spec, phase=Phase(1, 12)),
        key(spec, parent="a"),
        key(spec, earlier="a"),
        key(spec, segments=(1,)),
        key(spec, matches=("a",)),
        key(spec, matches=("b",)),
        key(spec, salt="a"),
    ]
    assert len(set(keys)) == len(keys)


def test_the_key_is_stable_across_releases(understand: Understand) -> None:
    # A changed key makes every finished search of every installation a stranger: that is what TRAINING_VERSION is for.
    # The first with what was the default when it was written down.
    spec = understand(training={"initialization": "he", "schedule": "constant"})
    assert key(spec) == "8ab397d1a5cd4f880e7450f3bbc72dacd7133b26984f5bffb827879b49b816b8"
    assert key(understand()) == "ffbf15367f6c297579d0668c6246a5dd82cbfd2d84610edb8425259484efa432"


def test_searches_from_before_there_were_schedules_are_those_without_one(
    understand: Understand, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents: list[dict[str, Any]] = []

    def keep(document: dict[str, Any]) -> str:
        documents.append(document)
        return "0" * 64

    spec = understand()
    stage = plan_experiment(spec).searches[0].stage
    place = Place(spec.phases[0], stage, spec.seeds[0])
    monkeypatch.setattr(identity, "digest", keep)
    for schedule in Schedule:
        search_key(replace(spec, recipe=replace(spec.recipe, schedule=schedule)), place)
    assert "schedule" not in documents[0]["recipe"]
    assert documents[1]["recipe"]["schedule"] == "cosine"
