"""Total against Partial: the report of an experiment, from what its searches, fits and evaluations brought."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from uuid import UUID

from service.domain.experiment import ExperimentSpec
from service.domain.layers import Layer
from service.domain.plan import PlannedVariant
from service.domain.report import Gap, Report, SearchFacts, StageLine, Training, VariantLine
from service.domain.report_notes import notes
from service.domain.states import ExperimentState, Learning, SearchState
from service.domain.statistics import difference_error, interval


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
    users = Counter(key for variant in variants for key in set(variant.path))
    lines = tuple(_variant(variant, state, spec, searches, users) for variant in variants)
    return Report(
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
        gaps=_gaps(lines, spec),
        searches=len(searches),
        stage_trainings_without_sharing=sum(len(variant.path) for variant in variants),
        reused_searches=sum(search.reused for search in searches.values()),
        wall_seconds=wall_seconds,
        notes=tuple(notes(spec, state, lines, searches.values(), devices)),
    )


def _variant(
    planned: PlannedVariant,
    experiment: ExperimentState,
    spec: ExperimentSpec,
    searches: Mapping[str, SearchFacts],
    users: Mapping[str, int],
) -> VariantLine:
    path = [searches[key] for key in planned.path]
    leaf = path[-1]
    trained = [search.incumbent for search in path if search.incumbent is not None]
    if len(trained) < len(path):
        trained = []
    largest = max(trained, key=lambda training: training.memory_bytes, default=None)
    final = _by_seed(leaf, spec.seeds) if trained else []
    tested = [leaf.evaluations[seed] for seed in spec.seeds if seed in leaf.evaluations] if trained else []
    return VariantLine(
        phase=planned.phase,
        epochs=spec.phases[planned.phase].epochs,
        architecture=planned.variant.architecture,
        learning=planned.variant.learning,
        state=_state(path, experiment, tested_seeds=len(tested), seeds=len(spec.seeds)),
        stages=tuple(_stage(search) for search in path),
        training_seconds=sum(t.training_seconds + t.feature_seconds for t in trained) if trained else None,
        search_seconds=sum(search.search_seconds for search in path),
        shared_seconds=sum(searches[key].search_seconds for key in planned.path if users[key] > 1),
        training_accuracy=interval([training.training_accuracy for training in final]),
        validation_accuracy=interval([training.validation_accuracy for training in final]),
        test_accuracy=interval(tested),
        memory_bytes=_largest(trained, lambda training: training.memory_bytes),
        analytic_memory_bytes=_largest(trained, lambda training: training.analytic_memory_bytes),
        resident_bytes=_largest(trained, lambda training: training.resident_bytes),
        memory_method=None if largest is None else largest.memory_method,
    )


def _largest(trained: Sequence[Training], what: Callable[[Training], int]) -> int | None:
    """Memory is needed for one stage at a time, so a variant needs that of its largest stage."""
    return max((what(training) for training in trained), default=None)


def _by_seed(leaf: SearchFacts, seeds: tuple[int, ...]) -> list[Training]:
    """The network's trainings in the order of the seeds: the incumbent's on the first, fits on the others."""
    fits = [leaf.fits[seed] for seed in seeds[1:] if seed in leaf.fits]
    return fits if leaf.incumbent is None else [leaf.incumbent, *fits]


def _state(path: Sequence[SearchFacts], experiment: ExperimentState, tested_seeds: int, seeds: int) -> str:
    states = {search.state for search in path}
    if SearchState.DEAD in states:
        return "dead"
    if states == {SearchState.DECIDED} and (tested_seeds == seeds or experiment in ExperimentState.ended()):
        return "complete"
    if SearchState.CANCELLED in states or experiment is ExperimentState.CANCELLED:
        return "cancelled"
    return "waiting" if states == {SearchState.WAITING} else "running"


def _stage(search: SearchFacts) -> StageLine:
    training = search.incumbent
    return StageLine(
        search=search.id,
        stage=search.stage,
        hyperparameters=search.hyperparameters,
        validation_accuracy=training.validation_accuracy if training else None,
        training_seconds=training.training_seconds if training else None,
        feature_seconds=training.feature_seconds if training else None,
        memory_bytes=training.memory_bytes if training else None,
        analytic_memory_bytes=training.analytic_memory_bytes if training else None,
        resident_bytes=training.resident_bytes if training else None,
        trials=search.trials,
        pruned=search.pruned,
        diverged=search.diverged,
        failed=search.failed,
        search_seconds=search.search_seconds,
        reused=search.reused,
    )


def _gaps(lines: Sequence[VariantLine], spec: ExperimentSpec) -> tuple[Gap, ...]:
    """Each partial variant against the Total of its network: the same layers, however they are cut or called."""
    networks: dict[str, tuple[Layer, ...]] = {
        architecture.name: tuple(chain.from_iterable(architecture.stages)) for architecture in spec.architectures
    }
    totals: dict[tuple[int, tuple[Layer, ...]], VariantLine] = {}
    for line in lines:
        if line.learning is Learning.TOTAL:
            totals.setdefault((line.phase, networks[line.architecture]), line)
    gaps = []
    for partial in lines:
        total = totals.get((partial.phase, networks[partial.architecture]))
        if partial.learning is Learning.PARTIAL and total is not None:
            gap = _gap(partial, total, spec.split.validation)
            if gap is not None:
                gaps.append(gap)
    return tuple(gaps)


def _gap(partial: VariantLine, total: VariantLine, images: int) -> Gap | None:
    if partial.validation_accuracy is None or total.validation_accuracy is None:
        return None
    test_points = None
    if partial.test_accuracy is not None and total.test_accuracy is not None:
        test_points = 100 * (total.test_accuracy.mean - partial.test_accuracy.mean)
    error = difference_error(total.validation_accuracy.mean, partial.validation_accuracy.mean, images)
    return Gap(
        phase=partial.phase,
        partial=partial.label,
        total=total.label,
        validation_points=100 * (total.validation_accuracy.mean - partial.validation_accuracy.mean),
        test_points=test_points,
        standard_error_points=100 * error,
    )
