from dataclasses import replace

import pytest

from service.domain.plan import plan_experiment
from service.domain.space import Point
from service.domain.states import SearchState
from tests.service.domain.reports import Facts, Understand, ended, facts, tell

NETWORKS = {
    "A": ["Conv-3-8", "Conv-3-8"],
    "B": ["Conv-3-8", "Conv-3-8", "Conv-3-8"],
    "C": ["Conv-5-8", "Conv-5-8"],
}


def choose(searches: Facts, points: dict[str, tuple[float, float]]) -> Facts:
    """Give searches these learning rates and regularizations."""
    found = dict(searches)
    for key, point in points.items():
        chosen = found[key].chosen
        assert chosen is not None
        found[key] = replace(found[key], chosen=replace(chosen, point=Point(*point)))
    return found


def test_steps_that_variants_share_count_once(understand: Understand) -> None:
    spec = understand(architectures=NETWORKS, variants=[{"architecture": a, "learning": "partial"} for a in NETWORKS])
    plan = plan_experiment(spec)
    # A's two stages are B's first two: five searches, three steps.
    first, second, third, other, after = (search.key for search in plan.searches)
    searches = choose(
        facts(plan, [0.5] * 5),
        {first: (0.1, 0.1), second: (0.2, 0.01), third: (0.3, 0.02), other: (0.1, 0.1), after: (0.05, 0.1)},
    )
    (trend,) = tell(spec, searches).trends
    assert (trend.phase, trend.variants, trend.steps) == (0, 3, 3)
    # Rises: A and both of B; C falls. Regularization falls in A and B's first step, rises in B's last, stays in C.
    assert (trend.learning_rate_rises, trend.learning_rate_rises_throughout) == (2, 2)
    assert (trend.regularization_falls, trend.regularization_falls_throughout) == (1, 1)
    # Two heads of three, one of two: nothing that coins would not do.
    assert [trend.learning_rate_p_value, trend.regularization_p_value] == pytest.approx([1.0, 1.0])
    assert trend.sentence == (
        "From one stage to the next the learning rate rises in 2 of 3 steps (sign test, p = 1.000, not adjusted) and "
        "regularization falls in 1 (sign test, p = 1.000, not adjusted); throughout, in 2 and 1 of 3 partial variants."
    )


@pytest.mark.parametrize(
    ("scheme", "whose"),
    [
        ("per-layer", "the learning rate of the head (scheme per-layer: its layers' own are left out) rises in"),
        ("geometric", "the learning rate of the first layer (scheme geometric: factors are left out) rises in"),
    ],
)
def test_a_trend_says_whose_hyperparameters_it_compares(understand: Understand, scheme: str, whose: str) -> None:
    spec = understand(
        architectures={"A": NETWORKS["A"]},
        variants=[{"architecture": "A", "learning": "partial"}],
        search={"scheme": scheme},
    )
    (trend,) = tell(spec, facts(plan_experiment(spec), [0.5] * 2)).trends
    assert whose in trend.sentence


def test_only_decided_stages_make_steps_and_every_phase_its_own(understand: Understand) -> None:
    spec = understand(
        architectures={"C": NETWORKS["C"]},
        variants=[{"architecture": "C", "learning": "partial"}],
        phases=[{"epochs": 1, "trials": 11}, {"epochs": 2, "trials": 6}],
    )
    plan = plan_experiment(spec)
    searches = facts(plan, [0.5] * 4)
    last = plan.searches[3].key
    trends = tell(spec, searches).trends
    assert [(trend.phase, trend.variants, trend.learning_rate_p_value) for trend in trends] == [
        (0, 1, None),
        (1, 1, None),
    ]
    assert trends[1].sentence == (
        "Phase 2: from one stage to the next the learning rate rises in 0 of 1 steps and regularization falls in 0; "
        "throughout, in 0 and 0 of 1 partial variants."
    )
    searches[last] = ended(searches[last], SearchState.DEAD)
    assert [trend.phase for trend in tell(spec, searches).trends] == [0]
