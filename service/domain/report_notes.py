"""The report's notes: what a reader should know before believing a line of the table."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from service.domain.experiment import ExperimentSpec
from service.domain.report import SearchFacts, VariantLine
from service.domain.states import ExperimentState, SearchState
from service.domain.statistics import NORMAL_QUANTILE, difference_error


def notes(
    spec: ExperimentSpec,
    state: ExperimentState,
    lines: Sequence[VariantLine],
    searches: Collection[SearchFacts],
    devices: Iterable[str],
) -> Iterator[str]:
    """Sentences for people, the most general first."""
    if state not in ExperimentState.ended():
        yield "The experiment has not ended: lines may still change."
    yield from _noise(spec, lines)
    if len(set(devices)) > 1:
        yield f"Trainings ran on {', '.join(sorted(set(devices)))}: compare times and memory of one device only."
    reused = sum(search.reused for search in searches)
    if reused:
        yield f"{reused} of {len(searches)} searches come from earlier experiments, with the seconds they took then."
    for search in searches:
        yield from _dead(search)
    for line in lines:
        yield from _fallen(line, spec)
        yield from _seeds(line, spec)


def _noise(spec: ExperimentSpec, lines: Sequence[VariantLine]) -> Iterator[str]:
    best = max((line.validation_accuracy.mean for line in lines if line.validation_accuracy), default=None)
    if best is None:
        return
    images = spec.split.validation
    points = 100 * NORMAL_QUANTILE * difference_error(best, best, images)
    if len(spec.seeds) == 1:
        yield (
            f"One seed only: with {images:,} validation images, differences under {points:.1f} points are noise, "
            "and what another seed would change comes on top."
        )
    yield "Validation accuracies chose the hyperparameters and are optimistic; test accuracies are not."


def _dead(search: SearchFacts) -> Iterator[str]:
    if search.state is SearchState.DEAD:
        if search.trials == 0:
            yield f"{search.name} never ran: a stage before it has no incumbent."
        else:
            yield (
                f"{search.name} has no incumbent: of {search.trials} trials {search.diverged} diverged, "
                f"{search.failed} failed and {search.pruned} were pruned. A narrower search.space may help."
            )


def _fallen(line: VariantLine, spec: ExperimentSpec) -> Iterator[str]:
    """A stage on frozen features can nearly always hold its prefix's accuracy; if not, it was searched too little."""
    for number, (before, stage) in enumerate(zip(line.stages, line.stages[1:], strict=False), start=2):
        earlier, accuracy = before.validation_accuracy, stage.validation_accuracy
        if earlier is None or accuracy is None:
            continue
        if earlier - accuracy > difference_error(earlier, accuracy, spec.split.validation):
            yield (
                f"{_place(line, spec)}: stage {number} reaches {accuracy:.3f}, less than the {earlier:.3f} "
                "of the stage it stands on. More trials may help."
            )


def _seeds(line: VariantLine, spec: ExperimentSpec) -> Iterator[str]:
    have = len(line.validation_accuracy.values) if line.validation_accuracy else 0
    if line.state == "complete" and have < len(spec.seeds):
        yield f"{_place(line, spec)}: {have} of {len(spec.seeds)} seeds have a result."


def _place(line: VariantLine, spec: ExperimentSpec) -> str:
    return line.label if len(spec.phases) == 1 else f"{line.label}, phase {line.phase + 1}"
