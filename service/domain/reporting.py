"""Total against Partial: the report of an experiment, from what its searches, fits and evaluations brought."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from service.domain.comparisons import compare
from service.domain.conditions import budgets, conditions
from service.domain.experiment import ExperimentSpec, SearchSettings, Variant
from service.domain.findings import Findings, Probe, Run, SearchFacts, Training, Tried, find
from service.domain.plan import PlannedVariant
from service.domain.published import PublishedLine, follows_protocol, published
from service.domain.report import CurvePoint, PhaseLine, Report, StageLine, VariantLine
from service.domain.report_notes import notes
from service.domain.schemes import fill
from service.domain.search import hand_picked
from service.domain.states import ExperimentState, SearchState, TrialOrigin
from service.domain.statistics import Interval, accuracy_interval, falls_short, interval
from service.domain.trends import trends


def assemble_report(
    experiment: UUID,
    state: ExperimentState,
    spec: ExperimentSpec,
    variants: Sequence[PlannedVariant],
    searches: Mapping[str, SearchFacts],
    devices: Sequence[str] = (),
    wall_seconds: float | None = None,
) -> Report:
    """The report of an experiment; ``variants`` are its plan's, their paths lead into ``searches``."""
    findings = [find(spec, variant, searches) for variant in variants]
    users = Counter(search.id for item in findings for search in item.searches)
    lines = tuple(_variant(item, state, spec, users) for item in findings)
    comparisons = compare(spec, findings)
    decided = [search for search in searches.values() if search.state is SearchState.DECIDED]
    report = Report(
        experiment=experiment,
        name=spec.name,
        state=state,
        dataset=spec.dataset.name,
        train=spec.split.train,
        validation=spec.split.validation,
        test=spec.dataset.test,
        preprocessing=spec.split.preprocessing,
        sampler=str(spec.search.sampler),
        seeds=spec.seeds,
        devices=tuple(sorted(set(devices))),
        variants=lines,
        gaps=comparisons.gaps,
        searches=len(searches),
        stage_trainings_without_sharing=sum(len(item.searches) for item in findings),
        reused_searches=sum(search.reused for search in searches.values()),
        wall_seconds=wall_seconds,
        notes=(),
        phases=tuple(
            PhaseLine(phase.epochs, phase.trials, "incumbents" if phase.from_incumbents else "initial")
            for phase in spec.phases
        ),
        baseline=comparisons.baseline,
        leads=comparisons.leads,
        comparisons=comparisons.count,
        trends=trends(spec, findings),
        search_seconds=sum(search.search_seconds for search in searches.values()),
        fit_seconds=sum(search.fit_seconds for search in searches.values()),
        saved_seconds=sum(search.saved_seconds + search.reused_fit_seconds for search in searches.values()),
        reused_fits=sum(search.reused_fits for search in searches.values()),
        decided_searches=len(decided),
        enqueued_incumbents=sum(_by_hand(search.chosen, spec.search) for search in decided),
        memory_limit=spec.limits.memory,
        shared_searches=sum(search.shared_with is not None for search in searches.values()),
        recipe=spec.recipe,
        search=spec.search,
        time_limit=spec.limits.time,
        conditions=conditions(spec),
        budgets=budgets(spec),
    )
    return replace(report, notes=tuple(notes(spec, report, searches.values())))


def _by_hand(chosen: Tried | None, settings: SearchSettings) -> bool:
    """Whether a point of the submission won, enqueued here or come here as the incumbent of an earlier search."""
    if chosen is None:
        return False
    if chosen.origin is not TrialOrigin.INCUMBENT:
        return chosen.origin is TrialOrigin.ENQUEUED
    return chosen.point in [fill(point, chosen.point.values) for point in hand_picked(settings)]


def _variant(
    findings: Findings, experiment: ExperimentState, spec: ExperimentSpec, users: Mapping[UUID, int]
) -> VariantLine:
    planned, searches = findings.planned, findings.searches
    trained, largest = findings.trained, findings.largest
    trials = tuple(sum(len(search.tried) for search in stage) for stage in zip(*findings.paths, strict=True))
    return VariantLine(
        phase=planned.phase,
        epochs=searches[-1].epochs,
        architecture=planned.variant.architecture,
        learning=planned.variant.learning,
        state=_state(findings, experiment, len(spec.seeds)),
        stages=tuple(_stage(findings, depth, spec) for depth in range(len(trials))),
        training_seconds=sum(training.seconds for training in trained) if trained else None,
        search_seconds=sum(search.search_seconds for search in searches),
        shared_seconds=sum(search.search_seconds for search in searches if users[search.id] > 1),
        training_accuracy=accuracy_interval(list(findings.training.values())),
        validation_accuracy=accuracy_interval(list(findings.validation.values())),
        test_accuracy=accuracy_interval(list(findings.test.values())),
        memory_bytes=None if largest is None else largest.memory_bytes,
        analytic_memory_bytes=_largest(trained, lambda training: training.analytic_memory_bytes),
        resident_bytes=_largest(trained, lambda training: training.resident_bytes),
        memory_method=None if largest is None else largest.memory_method,
        label=planned.variant.label,
        budget=planned.variant.budget,
        checkpointing=planned.variant.checkpointing,
        normalize_cuts=planned.variant.normalize_cuts,
        trials=sum(trials),
        trials_per_stage=trials,
        allowed_seconds=_allowed(searches),
        fit_seconds=sum(search.fit_seconds for search in searches),
        mean_training_seconds=interval(list(findings.seconds.values())),
        activation_bytes=_largest(trained, lambda training: training.activation_bytes),
        published=_published(planned, spec, searches[-1].epochs),
        confirmation_seconds=sum(search.confirmation_seconds for search in searches),
        diverged_seeds=findings.diverged,
        failed_seeds=findings.failed,
        seed=findings.seed,
    )


def _largest(trained: Sequence[Training], what: Callable[[Training], int]) -> int | None:
    """A variant needs what its largest stage does, which need not be the same one for every kind of memory."""
    return max((what(training) for training in trained), default=None)


def _allowed(searches: Sequence[SearchFacts]) -> float | None:
    """The seconds that all searches of a variant might spend; None unless each has such a bound."""
    allowed = [search.allowed_seconds for search in searches if search.allowed_seconds is not None]
    return sum(allowed) if len(allowed) == len(searches) else None


def _published(planned: PlannedVariant, spec: ExperimentSpec, epochs: int) -> PublishedLine | None:
    """The paper's line of a variant; what else than its protocol an experiment follows is not to be held against it."""
    variant = planned.variant
    if not follows_protocol(spec) or variant != Variant(variant.architecture, variant.learning):
        return None
    stages = next(item.stages for item in spec.architectures if item.name == variant.architecture)
    return published(stages, variant.learning, epochs)


def _state(findings: Findings, experiment: ExperimentState, seeds: int) -> str:
    if findings.barren:
        return "infeasible" if findings.infeasible else "dead"
    states = {search.state for path in findings.fertile_paths for search in path}
    if states == {SearchState.DECIDED} and (len(findings.test) == seeds or experiment in ExperimentState.ended()):
        return "complete"
    if SearchState.CANCELLED in states or experiment is ExperimentState.CANCELLED:
        return "cancelled"
    return "waiting" if states == {SearchState.WAITING} else "running"


def _stage(findings: Findings, depth: int, spec: ExperimentSpec) -> StageLine:
    path = findings.path
    search = path[depth]
    training = search.incumbent
    here, before = search.accuracy, path[depth - 1].accuracy if depth else None
    return StageLine(
        search=search.id,
        stage=search.stage,
        hyperparameters=search.chosen.point if search.chosen else None,
        validation_accuracy=training.validation_accuracy if training else None,
        training_seconds=training.training_seconds if training else None,
        feature_seconds=training.feature_seconds if training else None,
        memory_bytes=training.memory_bytes if training else None,
        analytic_memory_bytes=training.analytic_memory_bytes if training else None,
        resident_bytes=training.resident_bytes if training else None,
        trials=len(search.tried),
        pruned=search.pruned,
        diverged=search.diverged,
        failed=search.failed,
        search_seconds=search.search_seconds,
        reused=search.reused,
        state=search.state,
        epochs=search.epochs,
        origin=search.chosen.origin if search.chosen else None,
        stagnating=before is not None and here is not None and here < before,
        second_round=search.second_round,
        activation_bytes=training.activation_bytes if training else None,
        saved_seconds=search.saved_seconds,
        curve=_curve(search.curve, training),
        best_so_far=search.best_so_far,
        head_test_accuracy=_probed(findings.runs, depth, lambda probe: probe.head_accuracy),
        knn_test_accuracy=_probed(findings.runs, depth, lambda probe: probe.knn_accuracy),
        confirmed_accuracy=search.accuracy if search.confirmations else None,
        shared_with=search.shared_with,
        stagnating_beyond_noise=(
            before is not None and here is not None and falls_short(here, before, spec.split.validation)
        ),
        features=sum((Counter(on_seed[depth].features) for on_seed in findings.paths), Counter()),
    )


def _curve(points: Sequence[CurvePoint], training: Training | None) -> tuple[CurvePoint, ...]:
    """The curve with the seconds of training that each point stands at."""
    if training is None or not points or points[-1].epoch == 0:
        return tuple(points)
    rate = training.training_seconds / points[-1].epoch
    return tuple(replace(point, seconds=rate * point.epoch) for point in points)


def _probed(runs: Sequence[Run], depth: int, what: Callable[[Probe], float]) -> Interval | None:
    probes = [run.evaluation.stages[depth : depth + 1] for run in runs if run.evaluation is not None]
    return accuracy_interval([what(probe) for found in probes for probe in found])
