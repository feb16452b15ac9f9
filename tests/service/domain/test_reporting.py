from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid5

import pytest

from contract import experiments
from service.domain.experiment import ExperimentSpec
from service.domain.notation import write
from service.domain.plan import Plan, plan_experiment
from service.domain.report import Report, SearchFacts, Training, VariantLine
from service.domain.reporting import assemble_report
from service.domain.space import Point
from service.domain.states import ExperimentState, SearchState

Understand = Callable[..., ExperimentSpec]
ID = UUID(int=1)


def training(accuracy: float, memory: int = 100, seconds: float = 10.0) -> Training:
    return Training(accuracy, accuracy + 0.1, seconds, 2.0, memory, memory - 10, 7, f"method {memory}")


def facts(plan: Plan, accuracies: list[float]) -> dict[str, SearchFacts]:
    return {
        search.key: SearchFacts(
            id=uuid5(ID, search.key),
            name=search.name,
            stage=write(search.stage.layers),
            state=SearchState.DECIDED,
            reused=False,
            hyperparameters=Point(0.01, 0.001),
            incumbent=training(accuracy, memory=100 * (index + 1)),
            trials=search.budget.trials,
            search_seconds=100.0,
            evaluations={0: accuracy - 0.02},
        )
        for index, (search, accuracy) in enumerate(zip(plan.searches, accuracies, strict=True))
    }


def tell(
    spec: ExperimentSpec, searches: dict[str, SearchFacts], state: ExperimentState = ExperimentState.FINISHED
) -> Report:
    return assemble_report(ID, state, spec, plan_experiment(spec).variants, searches, ["cpu", "cpu"], 60.0)


def line(report: Report, label: str) -> VariantLine:
    return next(line for line in report.variants if line.label == label)


@pytest.fixture
def spec(understand: Understand) -> ExperimentSpec:
    """Three searches: A total, and A's two stages; B is A's first stage alone."""
    return understand(architectures={"A": ["Conv-3-8", "Pool-2"], "B": ["Conv-3-8"]})


@pytest.fixture
def searches(spec: ExperimentSpec) -> dict[str, SearchFacts]:
    return facts(plan_experiment(spec), [0.60, 0.50, 0.55])


def test_a_variant_sums_times_and_takes_the_largest_memory(
    spec: ExperimentSpec, searches: dict[str, SearchFacts]
) -> None:
    partial = line(tell(spec, searches), "A partial")
    assert partial.training_seconds == 2 * (10.0 + 2.0)
    assert (partial.search_seconds, partial.shared_seconds) == (200.0, 100.0)
    assert (partial.memory_bytes, partial.analytic_memory_bytes, partial.resident_bytes) == (300, 290, 7)
    assert partial.memory_method == "method 300"
    assert [stage.validation_accuracy for stage in partial.stages] == [0.50, 0.55]
    assert partial.validation_accuracy is not None
    assert partial.validation_accuracy.values == (0.55,)
    assert partial.test_accuracy is not None
    assert partial.test_accuracy.mean == pytest.approx(0.53)


def test_the_gap_is_total_minus_partial_of_one_network_in_points(
    spec: ExperimentSpec, searches: dict[str, SearchFacts]
) -> None:
    (gap,) = tell(spec, searches).gaps
    assert (gap.total, gap.partial) == ("A total", "A partial")
    assert gap.validation_points == pytest.approx(5.0)
    assert gap.test_points == pytest.approx(5.0)
    assert gap.standard_error_points == pytest.approx(100 * ((0.6 * 0.4 + 0.55 * 0.45) / 1_000) ** 0.5)


def test_a_network_under_another_name_has_a_gap_too(understand: Understand) -> None:
    spec = understand()
    plan = plan_experiment(spec)
    report = tell(spec, facts(plan, [0.54, 0.4, 0.51, *[0.5] * 9]))
    assert [(gap.total, gap.partial) for gap in report.gaps] == [("CNN 1 total", "CNN 2 partial")]
    assert report.gaps[0].validation_points == pytest.approx(3.0)
    assert (report.searches, report.stage_trainings_without_sharing) == (12, 17)


def test_seeds_give_intervals(spec: ExperimentSpec, searches: dict[str, SearchFacts]) -> None:
    spec = replace(spec, seeds=(0, 1))
    searches = {
        key: replace(search, fits={1: training(0.57)}, evaluations={0: 0.5, 1: 0.52})
        for key, search in searches.items()
    }
    report = tell(spec, searches)
    partial = line(report, "A partial")
    assert partial.validation_accuracy is not None
    assert partial.validation_accuracy.values == (0.55, 0.57)
    assert partial.validation_accuracy.low is not None
    assert partial.validation_accuracy.low < 0.55
    assert not any("One seed only" in note for note in report.notes)


def test_an_unfinished_variant_shows_what_is_known(spec: ExperimentSpec, searches: dict[str, SearchFacts]) -> None:
    leaf = plan_experiment(spec).variants[1].path[-1]
    searches[leaf] = replace(searches[leaf], state=SearchState.OPEN, incumbent=None, evaluations={})
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
        ((SearchState.DECIDED, SearchState.CANCELLED), ExperimentState.CANCELLED, "cancelled"),
        ((SearchState.DECIDED, SearchState.OPEN), ExperimentState.CANCELLED, "cancelled"),
    ],
)
def test_the_state_of_a_variant_follows_from_its_searches(
    spec: ExperimentSpec,
    searches: dict[str, SearchFacts],
    states: tuple[SearchState, SearchState],
    experiment: ExperimentState,
    expected: str,
) -> None:
    for key, state in zip(plan_experiment(spec).variants[1].path, states, strict=True):
        searches[key] = replace(searches[key], state=state, evaluations={})
    assert line(tell(spec, searches, experiment), "A partial").state == expected


def test_notes_warn_of_noise_dead_searches_reuse_and_lost_accuracy(
    spec: ExperimentSpec, searches: dict[str, SearchFacts]
) -> None:
    total, first, second = searches
    searches[total] = replace(
        searches[total], state=SearchState.DEAD, incumbent=None, diverged=9, failed=2, evaluations={}
    )
    searches[first] = replace(searches[first], reused=True)
    searches[second] = replace(searches[second], incumbent=training(0.127))
    notes = "\n".join(tell(spec, searches).notes)
    assert "One seed only: with 1,000 validation images, differences under 4.4 points are noise" in notes
    assert "has no incumbent: of 11 trials 9 diverged, 2 failed and 0 were pruned" in notes
    assert "1 of 3 searches come from earlier experiments" in notes
    assert "A partial: stage 2 reaches 0.127, less than the 0.500 of the stage it stands on" in notes
    assert "cpu" not in notes


def test_a_report_goes_over_the_wire(spec: ExperimentSpec, searches: dict[str, SearchFacts]) -> None:
    report = tell(spec, searches)
    sent = experiments.Report.model_validate(report, from_attributes=True)
    assert sent.devices == ["cpu"]
    assert sent.variants[0].stages[0].hyperparameters is not None
    assert sent.model_validate_json(sent.model_dump_json()) == sent
