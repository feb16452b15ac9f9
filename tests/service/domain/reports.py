"""Facts of searches as a report is made from, with figures that are easy to add up by hand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

from service.domain.experiment import ExperimentSpec
from service.domain.findings import Evaluation, SearchFacts, Training, Tried
from service.domain.notation import write
from service.domain.plan import Plan, plan_experiment
from service.domain.report import Report, VariantLine
from service.domain.reporting import assemble_report
from service.domain.space import Point
from service.domain.states import ExperimentState, SearchState, TrialOrigin, TrialState

Understand = Callable[..., ExperimentSpec]
Facts = dict[str, SearchFacts]
ID = UUID(int=1)


def training(accuracy: float, memory: int = 100, seconds: float = 10.0) -> Training:
    return Training(accuracy, accuracy + 0.1, seconds, 2.0, memory, memory - 10, 7, f"method {memory}", memory - 50)


def tried(value: float | None = 0.4, **more: Any) -> Tried:
    state = TrialState.FAILED if value is None else TrialState.COMPLETE
    facts: dict[str, Any] = {"origin": TrialOrigin.MODEL, "state": state, "value": value, "seconds": 10.0}
    return Tried(Point(0.01, 0.001), **(facts | more))


def facts(plan: Plan, accuracies: Sequence[float]) -> Facts:
    """Every search decided with ten trials of 10 s each; the test is 2 points below validation, on the first seed."""
    return {
        search.key: SearchFacts(
            id=uuid5(ID, search.key),
            name=search.name,
            stage=write(search.stage.layers),
            state=SearchState.DECIDED,
            reused=False,
            epochs=search.budget.epochs,
            chosen=tried(accuracy),
            incumbent=training(accuracy, memory=100 * (index + 1)),
            tried=(tried(accuracy), *[tried()] * 9),
            evaluations={search.seed: Evaluation(accuracy - 0.02)},
        )
        for index, (search, accuracy) in enumerate(zip(plan.searches, accuracies, strict=True))
    }


def with_seeds(search: SearchFacts, validation: Mapping[int, float], test: Mapping[int, float]) -> SearchFacts:
    """The search with its incumbent on the first of these seeds and fits on the others."""
    first, *others = validation
    return replace(
        search,
        incumbent=training(validation[first]),
        fits={seed: training(validation[seed]) for seed in others},
        evaluations={seed: Evaluation(accuracy) for seed, accuracy in test.items()},
    )


def ended(search: SearchFacts, state: SearchState, *trials: Tried) -> SearchFacts:
    """The search without an incumbent."""
    return replace(search, state=state, chosen=None, incumbent=None, evaluations={}, tried=trials)


def tell(spec: ExperimentSpec, searches: Facts, state: ExperimentState = ExperimentState.FINISHED) -> Report:
    return assemble_report(ID, state, spec, plan_experiment(spec).variants, searches, ["cpu", "cpu"], 60.0)


def line(report: Report, label: str, phase: int = 0) -> VariantLine:
    return next(line for line in report.variants if (line.label, line.phase) == (label, phase))
