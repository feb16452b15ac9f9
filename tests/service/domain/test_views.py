import dataclasses
from collections.abc import Callable

import pytest

from contract import comparisons, conditions, experiments, plans
from contract.base import Lenient
from service.domain import experiment, published, report, statistics, views
from service.domain.experiment import ExperimentSpec
from service.domain.plan import full_work, plan_experiment
from service.domain.remaining import Existing, remaining_work
from service.domain.states import SearchState

Understand = Callable[..., ExperimentSpec]


@pytest.mark.parametrize(
    ("mine", "wire"),
    [
        (views.PlannedSearchView, plans.PlannedSearch),
        (views.PlanView, plans.Plan),
        (views.ExperimentSummary, experiments.ExperimentSummary),
        (views.ExperimentPage, experiments.ExperimentPage),
        (views.SearchView, experiments.SearchView),
        (views.ExperimentView, experiments.Experiment),
        (views.TrialView, experiments.TrialView),
        (views.WorkerView, experiments.WorkerView),
        (views.DatasetView, experiments.DatasetView),
        (views.PresetView, experiments.PresetView),
        (views.Event, experiments.Event),
        (statistics.Interval, experiments.Interval),
        (statistics.Difference, comparisons.Difference),
        (statistics.Ratio, comparisons.Ratio),
        (published.PublishedLine, experiments.Published),
        (report.CurvePoint, experiments.CurvePoint),
        (report.BestSoFar, experiments.BestSoFar),
        (report.StageLine, experiments.StageLine),
        (report.VariantLine, experiments.VariantLine),
        (report.Costs, comparisons.Costs),
        (report.Effort, comparisons.Effort),
        (report.Gap, comparisons.Gap),
        (report.Lead, comparisons.Lead),
        (report.Trend, experiments.Trend),
        (report.PhaseLine, experiments.PhaseLine),
        (experiment.Recipe, conditions.ReportRecipe),
        (experiment.SearchSettings, conditions.ReportSearch),
        (report.Report, experiments.Report),
    ],
)
def test_fields_are_those_of_the_wire(mine: type, wire: type[Lenient]) -> None:
    assert [field.name for field in dataclasses.fields(mine)] == list(wire.model_fields)


def test_a_plan_goes_over_the_wire(understand: Understand) -> None:
    spec = understand()
    plan = plan_experiment(spec)
    there = {
        plan.searches[1].key: Existing(SearchState.OPEN, trials=2),
        plan.searches[2].key: Existing(SearchState.DEAD),
    }
    whole = full_work(spec, plan.searches, plan.leaves)
    view = views.view_plan(spec, plan, there, whole, remaining_work(spec, plan, whole, there), estimated_seconds=12.5)
    sent = plans.Plan.model_validate(view, from_attributes=True)
    assert sent.variants[:2] == ["CNN 1 total", "CNN 2 partial"]
    assert [search.state for search in sent.searches[:4]] == ["new", "under-way", "taken-over", "new"]
    assert (sent.trials, sent.searches[1].trials) == (plan.trials - 2 - 11, 11)
    assert sent.searches[2].parent == sent.searches[1].name
    assert sent.searches[2].stage == "Conv-3-32 Pool-2"
    assert sent.searches[0].used_by == ["CNN 1 total", "CNN 6 partial", "CNN 8 partial"]
    assert sent.estimated_seconds == 12.5
