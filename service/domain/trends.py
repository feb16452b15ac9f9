"""Do learning rates rise and regularizations fall from stage to stage, as the paper suspects (section 5.2)?

Compared are the base values: a stage's own pair, or under other schemes that of its head or its first layer.
"""

from collections.abc import Sequence
from itertools import pairwise

from service.domain.experiment import ExperimentSpec
from service.domain.findings import Findings, SearchFacts
from service.domain.report import Trend
from service.domain.space import Point
from service.domain.states import Learning, Scheme, SearchState
from service.domain.statistics import sign_test

Step = tuple[Point, Point]
BASES = {
    Scheme.PER_STAGE: "",
    Scheme.PER_LAYER: " of the head (scheme per-layer: its layers' own are left out)",
    Scheme.GEOMETRIC: " of the first layer (scheme geometric: factors are left out)",
}
"""What the first two axes belong to, which steps compare: the base values."""


def trends(spec: ExperimentSpec, findings: Sequence[Findings]) -> tuple[Trend, ...]:
    """The trend of every phase that has decided stages on decided stages."""
    found = []
    for phase in range(len(spec.phases)):
        partial = [
            item
            for item in findings
            if item.planned.phase == phase and item.planned.variant.learning is Learning.PARTIAL
        ]
        steps = {
            (before.id, after.id): step
            for item in partial
            for path in item.paths
            for before, after in pairwise(path)
            if (step := _step(before, after)) is not None
        }
        if steps:
            found.append(_trend(spec, phase, list(steps.values()), [item.path for item in partial]))
    return tuple(found)


def _step(before: SearchFacts, after: SearchFacts) -> Step | None:
    if before.state is after.state is SearchState.DECIDED and before.chosen and after.chosen:
        return before.chosen.point, after.chosen.point
    return None


def _trend(spec: ExperimentSpec, phase: int, steps: Sequence[Step], paths: Sequence[Sequence[SearchFacts]]) -> Trend:
    taken = [[_step(before, after) for before, after in pairwise(path)] for path in paths]
    whole = [[step for step in path if step is not None] for path in taken if path and None not in path]
    rises, falls = sum(map(_rises, steps)), sum(map(_falls, steps))
    rise_chance = sign_test(rises, sum(before.learning_rate > after.learning_rate for before, after in steps))
    fall_chance = sign_test(falls, sum(before.regularization < after.regularization for before, after in steps))
    rising = sum(all(map(_rises, path)) for path in whole)
    falling = sum(all(map(_falls, path)) for path in whole)
    name = f"Phase {phase + 1}: from" if len(spec.phases) > 1 else "From"
    return Trend(
        phase=phase,
        variants=len(whole),
        steps=len(steps),
        learning_rate_rises=rises,
        learning_rate_rises_throughout=rising,
        learning_rate_p_value=rise_chance,
        regularization_falls=falls,
        regularization_falls_throughout=falling,
        regularization_p_value=fall_chance,
        sentence=(
            f"{name} one stage to the next the learning rate{BASES[spec.search.scheme]} rises in {rises} of "
            f"{len(steps)} steps{_chance(rise_chance)} and regularization falls in {falls}{_chance(fall_chance)}; "
            f"throughout, in {rising} and {falling} of {len(whole)} partial variants."
        ),
    )


def _rises(step: Step) -> bool:
    return step[0].learning_rate < step[1].learning_rate


def _falls(step: Step) -> bool:
    return step[0].regularization > step[1].regularization


def _chance(p_value: float | None) -> str:
    return "" if p_value is None else f" (sign test, p = {p_value:.3f}, not adjusted)"
