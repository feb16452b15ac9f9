from dataclasses import replace

import pytest

from contract import experiments
from service.domain.experiment import ExperimentSpec
from service.domain.findings import Evaluation, Probe, Tried
from service.domain.plan import plan_experiment
from service.domain.report import BestSoFar, CurvePoint
from service.domain.states import ExperimentState, SearchState, TrialOrigin, TrialState
from tests.service.domain.reports import Facts, Understand, ended, facts, line, tell, training, tried, with_seeds


@pytest.fixture
def spec(understand: Understand) -> ExperimentSpec:
    """Three searches: A total, and A's two stages; B is A's first stage alone."""
    return understand(architectures={"A": ["Conv-3-8", "Pool-2"], "B": ["Conv-3-8"]})


@pytest.fixture
def searches(spec: ExperimentSpec) -> Facts:
    return facts(plan_experiment(spec), [0.60, 0.50, 0.55])


def test_a_variant_sums_times_and_trials_and_takes_the_largest_memory(spec: ExperimentSpec, searches: Facts) -> None:
    partial = line(tell(spec, searches), "A partial")
    assert partial.training_seconds == 2 * (10.0 + 2.0)
    assert (partial.search_seconds, partial.shared_seconds, partial.fit_seconds) == (200.0, 100.0, 0.0)
    assert (partial.trials, partial.trials_per_stage, partial.epochs) == (20, (10, 10), 1)
    assert (partial.memory_bytes, partial.analytic_memory_bytes, partial.resident_bytes) == (300, 290, 7)
    assert (partial.memory_method, partial.activation_bytes) == ("method 300", 250)
    assert [stage.validation_accuracy for stage in partial.stages] == [0.50, 0.55]
    assert partial.validation_accuracy is not None
    assert partial.validation_accuracy.values == (0.55,)
    assert partial.test_accuracy is not None
    assert partial.test_accuracy.mean == pytest.approx(0.53)


def test_seeds_give_intervals(spec: ExperimentSpec, searches: Facts) -> None:
    spec = replace(spec, seeds=(0, 1))
    searches = {
        key: replace(with_seeds(search, {0: 0.55, 1: 0.57}, {0: 0.5, 1: 0.52}), fit_seconds=14.0)
        for key, search in searches.items()
    }
    partial = line(tell(spec, searches), "A partial")
    assert partial.validation_accuracy is not None
    assert partial.validation_accuracy.values == (0.55, 0.57)
    assert partial.validation_accuracy.low is not None
    assert partial.validation_accuracy.low < 0.55
    assert partial.mean_training_seconds is not None
    assert partial.mean_training_seconds.values == (24.0, 24.0)
    assert (partial.search_seconds, partial.fit_seconds) == (200.0, 28.0)


def test_a_search_on_each_seed_gives_every_value_from_its_own_path(understand: Understand) -> None:
    spec = understand(architectures={"A": ["Conv-3-8", "Pool-2"]}, seeds=[0, 5], search={"seeds": "each"})
    plan = plan_experiment(spec)
    accuracy = {(0, 0): 0.5, (1, 0): 0.55, (0, 5): 0.6, (1, 5): 0.65}
    searches = facts(plan, [accuracy[search.depth, search.seed] for search in plan.searches])
    partial = line(tell(spec, searches), "A partial")
    assert partial.validation_accuracy is not None
    assert partial.validation_accuracy.values == (0.55, 0.65)
    assert partial.test_accuracy is not None
    assert partial.test_accuracy.values == pytest.approx((0.53, 0.63))
    assert [stage.validation_accuracy for stage in partial.stages] == [0.5, 0.55]
    assert (partial.trials, partial.trials_per_stage, partial.search_seconds) == (40, (20, 20), 400.0)


@pytest.mark.parametrize(
    ("trial", "values", "told"),
    [
        (tried(None), (0.6,), "A total has no network on seed 0, where training failed:"),
        (tried(0.1, diverged=True), (0.1, 0.6), "A total diverged on seed 0: that counts at chance, 0.100,"),
    ],
)
def test_a_dead_seed_leaves_the_variant_to_the_others_at_chance_where_it_diverged(
    understand: Understand, trial: Tried, values: tuple[float, ...], told: str
) -> None:
    spec = understand(architectures={"A": ["Conv-3-8"]}, seeds=[0, 5], search={"seeds": "each"})
    (first, second), searches = (plan := plan_experiment(spec)).searches, facts(plan, [0.5, 0.6])
    searches[first.key] = ended(searches[first.key], SearchState.DEAD, trial)
    report = tell(spec, searches)
    assert report.variants[0].state == "complete"
    assert report.variants[0].validation_accuracy is not None
    assert report.variants[0].validation_accuracy.values == values
    assert any(note.startswith(told) for note in report.notes)
    searches[second.key] = ended(searches[second.key], SearchState.INFEASIBLE, tried(None))
    assert tell(spec, searches).variants[0].state == "infeasible"


def test_stages_and_memory_are_those_of_the_first_seed_that_has_a_network(understand: Understand) -> None:
    spec = understand(architectures={"A": ["Conv-3-8", "Pool-2"]}, seeds=[0, 5, 7], search={"seeds": "each"})
    plan = plan_experiment(spec)
    searches = facts(plan, [0.5 + 0.1 * search.depth + 0.01 * search.seed for search in plan.searches])
    intact = tell(spec, searches)
    assert {item.seed for item in intact.variants} == {0}
    assert not any("the first that has a network" in note for note in intact.notes)
    for search in plan.searches:
        if search.seed == 0:
            searches[search.key] = ended(searches[search.key], SearchState.DEAD, tried(0.1, diverged=True))
    report = tell(spec, searches)
    total, partial = line(report, "A total"), line(report, "A partial")
    assert (total.seed, partial.seed) == (5, 5)
    assert [stage.validation_accuracy for stage in partial.stages] == pytest.approx([0.55, 0.65])
    assert {stage.state for stage in partial.stages} == {SearchState.DECIDED}
    assert partial.memory_bytes == max(stage.memory_bytes or 0 for stage in partial.stages)
    assert (partial.training_seconds, partial.memory_method) == (24.0, f"method {partial.memory_bytes}")
    assert "A partial: its stages and memory are those of seed 5, the first that has a network." in report.notes
    assert report.trends[0].variants == 1


def test_an_unfinished_variant_shows_what_is_known(spec: ExperimentSpec, searches: Facts) -> None:
    leaf = plan_experiment(spec).variants[1].path[-1]
    searches[leaf] = ended(searches[leaf], SearchState.OPEN)
    report = tell(spec, searches, ExperimentState.RUNNING)
    partial = line(report, "A partial")
    assert partial.state == "running"
    assert partial.training_seconds is None
    assert partial.validation_accuracy is None
    assert partial.stages[0].validation_accuracy == 0.50
    assert line(report, "A total").state == "complete"
    assert report.gaps == ()
    assert report.notes[0] == "The experiment has not ended: lines may still change."


@pytest.mark.parametrize(
    ("states", "experiment", "expected"),
    [
        ((SearchState.WAITING, SearchState.WAITING), ExperimentState.RUNNING, "waiting"),
        ((SearchState.OPEN, SearchState.WAITING), ExperimentState.RUNNING, "running"),
        ((SearchState.DECIDED, SearchState.DECIDED), ExperimentState.RUNNING, "running"),
        ((SearchState.DECIDED, SearchState.DECIDED), ExperimentState.FINISHED, "complete"),
        ((SearchState.DECIDED, SearchState.DEAD), ExperimentState.FINISHED, "dead"),
        ((SearchState.INFEASIBLE, SearchState.DEAD), ExperimentState.FINISHED, "infeasible"),
        ((SearchState.DECIDED, SearchState.CANCELLED), ExperimentState.CANCELLED, "cancelled"),
        ((SearchState.DECIDED, SearchState.OPEN), ExperimentState.CANCELLED, "cancelled"),
    ],
)
def test_the_state_of_a_variant_follows_from_its_searches(
    spec: ExperimentSpec,
    searches: Facts,
    states: tuple[SearchState, SearchState],
    experiment: ExperimentState,
    expected: str,
) -> None:
    for key, state in zip(plan_experiment(spec).variants[1].path, states, strict=True):
        searches[key] = replace(searches[key], state=state, evaluations={})
    assert line(tell(spec, searches, experiment), "A partial").state == expected


def test_a_stage_tells_how_its_search_went(spec: ExperimentSpec, searches: Facts) -> None:
    leaf = plan_experiment(spec).variants[1].path[-1]
    trials = (
        tried(0.3),
        tried(0.9, diverged=True),
        tried(0.8, state=TrialState.PRUNED),
        tried(0.45, origin=TrialOrigin.SOBOL),
        tried(None, seconds=0.0),
    )
    searches[leaf] = replace(
        searches[leaf],
        tried=trials,
        chosen=trials[3],
        incumbent=training(0.45, seconds=6.0),
        range_test_seconds=2.0,
        confirmation_seconds=3.0,
        second_round=True,
        reused=True,
        curve=(CurvePoint(0.5, 0.2, 2.0), CurvePoint(1.0, 0.45)),
    )
    partial = line(tell(spec, searches), "A partial")
    stage = partial.stages[1]
    assert partial.confirmation_seconds == 3.0
    assert (stage.trials, stage.pruned, stage.diverged, stage.failed) == (5, 1, 1, 1)
    assert (stage.origin, stage.second_round, stage.stagnating) == (TrialOrigin.SOBOL, True, True)
    assert (stage.search_seconds, stage.saved_seconds) == (45.0, 45.0)
    assert stage.best_so_far == (
        BestSoFar(1, 10.0, 0.3),
        BestSoFar(2, 20.0, 0.3),
        BestSoFar(3, 30.0, 0.3),
        BestSoFar(4, 40.0, 0.45),
        BestSoFar(5, 40.0, 0.45),
    )
    assert stage.curve == (CurvePoint(0.5, 0.2, 2.0, 3.0), CurvePoint(1.0, 0.45, None, 6.0))


def test_probes_of_every_stage_are_means_over_the_seeds(spec: ExperimentSpec, searches: Facts) -> None:
    spec = replace(spec, seeds=(0, 1))
    leaf = plan_experiment(spec).variants[1].path[-1]
    searches = {key: with_seeds(search, {0: 0.5, 1: 0.5}, {}) for key, search in searches.items()}
    evaluations = {
        0: Evaluation(0.55, (Probe(0.40, 0.30), Probe(0.55, 0.45))),
        1: Evaluation(0.57, (Probe(0.42, 0.34), Probe(0.57, 0.47))),
    }
    searches[leaf] = replace(searches[leaf], evaluations=evaluations)
    report = tell(spec, searches)
    first, second = line(report, "A partial").stages
    assert first.head_test_accuracy is not None
    assert first.head_test_accuracy.values == (0.40, 0.42)
    assert first.knn_test_accuracy is not None
    assert first.knn_test_accuracy.mean == pytest.approx(0.32)
    assert second.head_test_accuracy is not None
    assert second.head_test_accuracy.mean == pytest.approx(0.56)
    assert line(report, "A total").stages[0].head_test_accuracy is None


def test_reuse_and_hand_picked_points_are_counted(spec: ExperimentSpec, searches: Facts) -> None:
    first, second, third = searches
    searches[first] = replace(
        searches[first], reused=True, fit_seconds=30.0, reused_fits=2, reused_fit_seconds=20.0, range_test_seconds=1.0
    )
    searches[second] = replace(searches[second], chosen=tried(0.5, origin=TrialOrigin.ENQUEUED))
    searches[third] = replace(searches[third], fit_seconds=7.0)
    report = tell(spec, searches)
    assert (report.search_seconds, report.fit_seconds) == (301.0, 37.0)
    assert (report.saved_seconds, report.reused_searches, report.reused_fits) == (121.0, 1, 2)
    assert (report.enqueued_incumbents, report.decided_searches) == (1, 3)


BY_HAND = {"learning_rate": 0.01, "regularization": 0.001}


@pytest.mark.parametrize(
    ("search", "counted"),
    [
        ({"enqueue": [BY_HAND]}, 1),
        ({"sampler": "random-exponential", "initial": BY_HAND}, 1),
        ({"enqueue": [BY_HAND | {"learning_rate": 0.03}]}, 0),
        ({}, 0),
    ],
)
def test_a_hand_picked_point_that_wins_again_as_an_incumbent_is_still_hand_picked(
    understand: Understand, search: dict[str, object], counted: int
) -> None:
    spec = understand(architectures={"A": ["Conv-3-8", "Pool-2"], "B": ["Conv-3-8"]}, search=search)
    found = facts(plan_experiment(spec), [0.60, 0.50, 0.55])
    incumbent, *others = found
    found[incumbent] = replace(found[incumbent], chosen=tried(0.5, origin=TrialOrigin.INCUMBENT))
    # The same point by chance is not by hand.
    assert {found[key].chosen for key in others} == {tried(0.50), tried(0.55)}
    assert tell(spec, found).enqueued_incumbents == counted


def test_budgets_of_all_phases_and_rules_are_told(understand: Understand) -> None:
    variants = [
        {"architecture": "A", "learning": "partial"},
        {"architecture": "A", "learning": "total", "budget": "passes", "checkpointing": True},
        {"architecture": "A", "learning": "total", "budget": "seconds", "normalize_cuts": True},
    ]
    spec = understand(
        architectures={"A": ["Conv-3-8", "Pool-2"]},
        variants=variants,
        phases=[{"epochs": 1, "trials": 11}, {"epochs": 2, "trials": 6, "start": "initial"}],
    )
    plan = plan_experiment(spec)
    searches = facts(plan, [0.5] * len(plan.searches))
    seconds = next(variant for variant in plan.variants if variant.variant.budget == "seconds").path[0]
    searches[seconds] = replace(searches[seconds], allowed_seconds=80.0)
    report = tell(spec, searches)
    assert [(phase.epochs, phase.trials, phase.start) for phase in report.phases] == [
        (1, 11, "incumbents"),
        (2, 6, "initial"),
    ]
    passes = line(report, "A total, equal passes, checkpointed", phase=1)
    assert (passes.epochs, passes.budget, passes.checkpointing, passes.allowed_seconds) == (4, "passes", True, None)
    timed = line(report, "A total, equal seconds, normalised")
    assert (timed.epochs, timed.normalize_cuts, timed.allowed_seconds) == (1, True, 80.0)


@pytest.mark.parametrize(
    ("name", "preprocessing", "table"),
    [("cifar10", "mean-image", 2), ("cifar10", "standardize", None), ("digits", "mean-image", None)],
)
def test_the_paper_stands_beside_who_follows_its_protocol(
    understand: Understand, name: str, preprocessing: str, table: int | None
) -> None:
    spec = understand(
        dataset={"name": name, "train": 49_000, "validation": 1_000, "preprocessing": preprocessing},
        training={"standardize_inputs": False, "schedule": "constant"},
    )
    spec = replace(spec, dataset=replace(spec.dataset, name=name))
    searches = facts(plan_experiment(spec), [0.5] * 12)
    found = line(tell(spec, searches), "CNN 6 partial").published
    assert (found and found.table) == table


def test_a_report_goes_over_the_wire(spec: ExperimentSpec, searches: Facts) -> None:
    report = tell(spec, searches)
    sent = experiments.Report.model_validate(report, from_attributes=True)
    assert sent.devices == ["cpu"]
    assert sent.variants[0].stages[0].hyperparameters is not None
    assert sent.gaps[0].verdict in {"total better", "partial better", "within noise"}
    assert sent.leads
    assert sent.trends
    assert sent.model_validate_json(sent.model_dump_json()) == sent
