from collections.abc import Callable
from itertools import chain

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.experiment import ExperimentSpec
from service.domain.plan import NAME_LENGTH, plan_experiment

Understand = Callable[..., ExperimentSpec]

STAGES = st.sampled_from(["Conv-3-32", "Conv-3-32 Conv-1-32", "Conv-3-32 Pool-2", "Pool-2"])
NETWORKS = st.dictionaries(st.sampled_from("ABCDEFGH"), st.lists(STAGES, min_size=1, max_size=4), min_size=1)


def test_the_papers_eight_networks_are_twelve_searches(understand: Understand) -> None:
    plan = plan_experiment(understand())
    assert len(plan.searches) == 12
    assert plan.stage_trainings_without_sharing == 17
    assert (plan.trials, plan.fits, plan.evaluations) == (132, 0, 8)
    first = plan.searches[0]
    assert [plan.variants[index].variant.label for index in first.used_by] == [
        "CNN 1 total",
        "CNN 6 partial",
        "CNN 8 partial",
    ]
    # 269 of the 372 million multiply-adds without sharing, less the prefixes that are not run again: 224 million.
    assert round(sum(search.multiply_adds for search in plan.searches) / 1e6) == 224
    assert plan.multiply_adds == sum(search.multiply_adds for search in plan.searches) * 49_000 * 11


def test_totals_of_one_network_are_one_search(understand: Understand) -> None:
    spec = understand(architectures={"A": ["Conv-3-8 Pool-2"], "B": ["Conv-3-8", "Pool-2"]})
    plan = plan_experiment(spec)
    assert [variant.path for variant in plan.variants[:2]] == [plan.variants[0].path] * 2
    assert len(plan.searches) == 3
    assert plan.evaluations == 2


def test_each_seed_after_the_first_fits_every_search_and_tests_every_leaf(understand: Understand) -> None:
    plan = plan_experiment(understand(seeds=[3, 1, 2]))
    assert (plan.fits, plan.evaluations) == (24, 24)
    assert plan.multiply_adds == sum(search.multiply_adds for search in plan.searches) * 49_000 * 13


def test_a_phase_has_a_tree_of_its_own_that_starts_from_the_one_before(understand: Understand) -> None:
    plan = plan_experiment(understand(phases=[{"epochs": 1, "trials": 11}, {"epochs": 2, "trials": 6}]))
    assert len(plan.searches) == 24
    assert len(plan.variants) == 16
    by_key = {search.key: search for search in plan.searches}
    for search in plan.searches:
        assert (search.earlier is None) == (search.phase == 0)
        if search.earlier is not None:
            earlier = by_key[search.earlier]
            assert (earlier.stage, earlier.prefix, earlier.phase) == (search.stage, search.prefix, 0)
        if search.parent is not None:
            assert by_key[search.parent].phase == search.phase


def test_plans_are_repeatable_and_a_salt_keeps_them_apart(understand: Understand) -> None:
    spec = understand()
    assert plan_experiment(spec) == plan_experiment(spec)
    salted = {search.key for search in plan_experiment(spec, salt="mine").searches}
    assert salted.isdisjoint(search.key for search in plan_experiment(spec).searches)


def test_names_are_readable(understand: Understand) -> None:
    names = [search.name for search in plan_experiment(understand()).searches]
    assert names[2].startswith("cifar10 1ep Conv-3-32 | Conv-3-32 Pool-2 #")


def test_long_names_keep_what_tells_them_apart(understand: Understand) -> None:
    deep = understand(architectures={"A": [f"Conv-3-{filters}" for filters in range(1, 40)]})
    wide = understand(architectures={"A": ["Conv-3-32 " * 60]})
    deepest = [search for search in plan_experiment(deep).searches if search.depth == 38]
    assert "… | Conv-3-" in deepest[0].name
    assert "Conv-3-38 | Conv-3-39 #" in deepest[0].name
    for spec in (deep, wide):
        names = [search.name for search in plan_experiment(spec).searches]
        assert max(map(len, names)) <= NAME_LENGTH
        assert len(set(names)) == len(names)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(networks=NETWORKS)
def test_nodes_are_the_distinct_prefixes_and_parents_stand_first(
    understand: Understand, networks: dict[str, list[str]]
) -> None:
    plan = plan_experiment(understand(architectures=networks))
    partial = {tuple(stages[:depth]) for stages in networks.values() for depth in range(1, len(stages) + 1)}
    total = {(" ".join(stages),) for stages in networks.values()}
    assert len(plan.searches) == len(partial | total)

    seen: set[str] = set()
    for search in plan.searches:
        assert search.parent is None or search.parent in seen
        assert (search.parent is None) == (search.depth == 0)
        seen.add(search.key)
    assert seen == set(chain.from_iterable(variant.path for variant in plan.variants))
    for index, variant in enumerate(plan.variants):
        assert {search.key for search in plan.searches if index in search.used_by} == set(variant.path)


PAIR = {"A": ["Conv-3-8 Pool-2", "Conv-3-8"]}
BOTH = [
    {"architecture": "A", "learning": "partial"},
    {"architecture": "A", "learning": "total", "budget": "seconds"},
]


def test_what_may_come_on_top_is_counted_apart_from_what_is_certain(understand: Understand) -> None:
    search = {"range_test": True, "second_round": 4, "confirm_seeds": 3}
    plan = plan_experiment(
        understand(architectures=PAIR, variants=BOTH, phases=[{"epochs": 1, "trials": 5}], seeds=[0, 1], search=search)
    )
    # Two stages of five trials, with four more each, and confirmed again after those. Total spends seconds: one trial
    # at least, ten times five at most.
    assert (plan.least_trials, plan.trials) == (5 + 5 + 1, 9 + 9 + 50)
    assert (plan.range_tests, plan.confirmations, plan.fits, plan.evaluations) == (3, 5 * 2 * 3, 3, 4)
    # Sixteen rates of a hundred batches of fifty, but no more than the training's images.
    images = [trainings * 49_000 + 16 * 100 * 50 for trainings in (9 + 12 + 1, 9 + 12 + 1, 50 + 6 + 1)]
    assert plan.multiply_adds == sum(
        planned.multiply_adds * each for planned, each in zip(plan.searches, images, strict=True)
    )


def test_all_trials_are_certain_unless_more_is_asked_for(understand: Understand) -> None:
    plan = plan_experiment(understand())
    assert (plan.least_trials, plan.range_tests, plan.confirmations) == (plan.trials, 0, 0)


def test_a_lone_trial_is_not_confirmed(understand: Understand) -> None:
    phases = [{"epochs": 1, "trials": 1}, {"epochs": 2, "trials": 2}]
    wishes = {"architectures": {"A": ["Conv-3-8"]}, "phases": phases}
    assert plan_experiment(understand(**wishes, search={"confirm_seeds": 3})).confirmations == 2 * 3
    # After a second round it is one of two.
    twice = plan_experiment(understand(**wishes, search={"confirm_seeds": 3, "second_round": 1}))
    assert twice.confirmations == 2 * 3 + 2 * (2 * 3)
