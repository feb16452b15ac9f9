"""What a submission may ask for beyond the plain comparison, and what the plan makes of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from service.domain.errors import InvalidSubmission
from service.domain.experiment import ExperimentSpec, Phase, Variant
from service.domain.identity import FIRST_CONFIRMATION_SEED, confirmation_seeds
from service.domain.plan import PlannedSearch, plan_experiment, searched_seeds
from service.domain.space import Interval
from service.domain.states import BudgetRule, Learning, Objective, Pruner, Scheme
from service.domain.work import training_work

Understand = Callable[..., ExperimentSpec]
THREE = {"A": ["Conv-3-8", "Conv-3-8 Pool-2", "Pool-2"]}
PARTIAL = {"architecture": "A", "learning": "partial"}
TOTAL = {"architecture": "A", "learning": "total"}


def faults(understand: Understand, **wishes: Any) -> dict[str, str]:
    with pytest.raises(InvalidSubmission) as caught:
        understand(**wishes)
    return {fault.path: fault.message for fault in caught.value.faults}


def planned(spec: ExperimentSpec) -> dict[str, list[PlannedSearch]]:
    """The searches of every variant of the first phase by its label, on the first seed."""
    plan = plan_experiment(spec)
    by_key = {search.key: search for search in plan.searches}
    return {line.variant.label: [by_key[key] for key in line.path] for line in plan.variants if line.phase == 0}


def test_a_variant_says_its_conditions() -> None:
    assert Variant("A", Learning.TOTAL).label == "A total"
    whole = Variant("A", Learning.TOTAL, BudgetRule.PASSES, checkpointing=True, normalize_cuts=True)
    assert whole.label == "A total, equal passes, normalised, checkpointed"


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (
            PARTIAL | {"budget": "passes"},
            "budget: passes is for total learning: leave it out, or write learning: total",
        ),
        (PARTIAL | {"checkpointing": True}, "checkpointing is for total learning"),
        (PARTIAL | {"normalize_cuts": True}, "normalize_cuts is for total learning"),
        (TOTAL | {"budget": "seconds"}, "budget: seconds spends what A partial takes: add that variant"),
    ],
)
def test_conditions_in_the_wrong_place_are_refused(understand: Understand, variant: Any, message: str) -> None:
    found = faults(understand, architectures=THREE, variants=[variant])
    assert found["variants[0]"].startswith(message)


def test_what_concerns_cuts_needs_an_architecture_with_cuts(understand: Understand) -> None:
    found = faults(understand, architectures={"A": ["Conv-3-8"]}, variants=[TOTAL | {"checkpointing": True}])
    assert found == {"variants[0]": "checkpointing needs an architecture with cuts, A is one stage: leave it out"}


def test_equal_passes_multiply_the_epochs_by_the_stages(understand: Understand) -> None:
    spec = understand(
        architectures=THREE, variants=[TOTAL, TOTAL | {"budget": "passes"}], phases=[{"epochs": 2, "trials": 5}]
    )
    searches = planned(spec)
    assert [search.budget for search in searches["A total"]] == [Phase(2, 5)]
    assert [search.budget for search in searches["A total, equal passes"]] == [Phase(6, 5)]


def test_equal_seconds_wait_for_the_partial_variants_searches_wherever_it_stands(understand: Understand) -> None:
    spec = understand(architectures=THREE, variants=[TOTAL | {"budget": "seconds"}, PARTIAL])
    searches = planned(spec)
    (total,) = searches["A total, equal seconds"]
    assert total.matches == tuple(search.key for search in searches["A partial"])
    assert total.budget.trials == 10 * spec.phases[0].trials
    keys = [search.key for search in plan_experiment(spec).searches]
    assert all(keys.index(match) < keys.index(total.key) for match in total.matches)


def test_norms_and_segments_stand_at_the_cuts_and_make_searches_of_their_own(understand: Understand) -> None:
    variants = [TOTAL, TOTAL | {"normalize_cuts": True}, TOTAL | {"checkpointing": True}]
    searches = planned(understand(architectures=THREE, variants=variants))
    assert [(s.stage.norms, s.segments) for (s,) in searches.values()] == [((), ()), ((1, 3), ()), ((), (1, 3))]
    assert len({search.key for (search,) in searches.values()}) == 3


@pytest.mark.parametrize("salt", [None, "apart"])
def test_checkpoints_and_seconds_follow_the_draws_of_the_same_search_without(
    understand: Understand, salt: str | None
) -> None:
    totals: list[dict[str, Any]] = [TOTAL | {"budget": budget} for budget in ("epochs", "passes", "seconds")]
    totals += [total | {"checkpointing": True} for total in totals]
    phases = [{"epochs": 1, "trials": 3}, {"epochs": 2, "trials": 2}, {"epochs": 2, "trials": 2, "start": "initial"}]
    plan = plan_experiment(understand(architectures=THREE, variants=[*totals, PARTIAL], phases=phases), salt)
    searches = {search.key: search for search in plan.searches}
    for phase in range(len(phases)):
        *found, partial = (line for line in plan.variants if line.phase == phase)
        plain, passes = found[0].path[0], found[1].path[0]
        draws = [searches[line.path[0]].draws for line in found]
        assert draws == [None, None, plain, plain, passes, plain]
        assert len({line.path[0] for line in found}) == len(totals)
        assert {searches[key].draws for key in partial.path} == {None}


def test_only_stages_before_the_last_learn_without_labels(understand: Understand) -> None:
    spec = understand(
        architectures=THREE | {"B": ["Conv-3-8"]},
        variants=[PARTIAL, {"architecture": "B", "learning": "total"}],
        training={"objective": "reconstruction"},
    )
    searches = planned(spec)
    assert [search.objective for search in searches["A partial"]] == [
        Objective.RECONSTRUCTION,
        Objective.RECONSTRUCTION,
        Objective.CLASSIFICATION,
    ]
    # The same layers, but the last stage of their network: another search.
    assert searches["B total"][0].key != searches["A partial"][0].key
    first, last = (searches["A partial"][number] for number in (0, 2))
    point = spec.search.initial
    assert training_work(spec, first, [], point, 0).recipe.objective is Objective.RECONSTRUCTION
    assert training_work(spec, last, ["a" * 64, "b" * 64], point, 0).recipe.objective is Objective.CLASSIFICATION


def test_a_phase_may_start_from_the_initial_points_again(understand: Understand) -> None:
    phases = [{"epochs": 1, "trials": 3}, {"epochs": 2, "trials": 2}, {"epochs": 2, "trials": 2, "start": "initial"}]
    plan = plan_experiment(understand(architectures=THREE, variants=[PARTIAL], phases=phases))
    paths = [line.path for line in plan.variants]
    by_key = {search.key: search for search in plan.searches}
    assert tuple(by_key[key].earlier for key in paths[1]) == paths[0]
    assert {by_key[key].earlier for key in paths[2]} == {None}
    assert len(plan.searches) == 9


def test_a_search_for_every_seed_has_paths_of_its_own_and_no_fits(understand: Understand) -> None:
    spec = understand(architectures=THREE, variants=[PARTIAL], seeds=[4, 7], search={"seeds": "each"})
    plan = plan_experiment(spec)
    (line,) = plan.variants
    assert searched_seeds(spec) == (4, 7)
    assert [[search.seed for search in plan.searches if search.key in path] for path in line.paths] == [
        [4] * 3,
        [7] * 3,
    ]
    assert (plan.fits, plan.evaluations) == (0, 2)
    # A seed's searches are those of an experiment on that seed alone.
    alone = plan_experiment(replace(spec, seeds=(7,)))
    assert alone.variants[0].path == line.paths[1]


def test_confirmation_seeds_are_none_that_are_reported(understand: Understand) -> None:
    taken = FIRST_CONFIRMATION_SEED + 1
    spec = understand(architectures=THREE, seeds=[0, taken], search={"confirm_seeds": 2})
    assert confirmation_seeds(spec) == (FIRST_CONFIRMATION_SEED, FIRST_CONFIRMATION_SEED + 2)


def test_search_settings_are_understood(understand: Understand) -> None:
    wishes = {
        "scheme": "geometric",
        "pruner": "asha",
        "range_test": True,
        "second_round": 6,
        "confirm_seeds": 1,
        "space": {"learning_rate_factor": {"low": 0.5, "high": 2}},
    }
    search = understand(architectures=THREE, search=wishes).search
    assert (search.scheme, search.pruner, search.range_test) == (Scheme.GEOMETRIC, Pruner.ASHA, True)
    assert (search.second_round, search.confirm_seeds) == (6, 1)
    assert search.learning_rate_factor == Interval(0.5, 2.0)


def test_schemes_that_cannot_work_are_refused(understand: Understand) -> None:
    exponential = faults(
        understand, architectures=THREE, search={"sampler": "random-exponential", "scheme": "per-layer"}
    )
    assert "draws one pair a stage" in exponential["search.scheme"]
    narrow = {"scheme": "geometric", "space": {"regularization_factor": {"low": 2, "high": 3}}}
    assert faults(understand, architectures=THREE, search=narrow) == {
        "search.space.regularization_factor": "2 to 3 leaves out 1, at which all layers are alike: widen it"
    }


def test_start_points_are_one_pair(understand: Understand) -> None:
    point = {"learning_rate": 0.01, "regularization": 0.01, "more": {"learning_rate_factor": 2}}
    found = faults(understand, architectures=THREE, search={"scheme": "geometric", "enqueue": [point]})
    assert found["search.enqueue[0].more"].startswith("a start point is one learning rate and one regularization")
