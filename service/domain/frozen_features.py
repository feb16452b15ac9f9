"""What frozen features take beside ``limits.memory``, which bounds what a training takes and not what it reads.

And where they were kept: a worker without room for them in memory takes longer, whatever it trains.
"""

from collections.abc import Iterator, Mapping
from math import prod

from service.domain.experiment import ExperimentSpec
from service.domain.places import listed, shared_stages
from service.domain.plan import Plan
from service.domain.quantities import mebibytes
from service.domain.report import Report
from service.domain.states import FeaturePlace

BYTES = {"bfloat16": 2}
"""Of a feature by precision; float32 has four, and so may auto."""

ELSEWHERE = {FeaturePlace.DISK: "from disk", FeaturePlace.RECOMPUTED: "recomputed for every batch"}


def planned(spec: ExperimentSpec, plan: Plan) -> Iterator[str]:
    """A sentence on features that will be larger than the limit, if there are any."""
    if spec.limits.memory is None or not spec.recipe.cached_features:
        return
    kept: dict[str, int] = {}
    images = spec.split.train + spec.split.validation
    for search in plan.searches:
        if search.parent is not None:
            size = images * prod(search.stage.input_shape) * BYTES.get(spec.recipe.precision, 4)
            for index in search.used_by:
                name = spec.variants[index].label
                kept[name] = max(size, kept.get(name, 0))
    yield from _told(spec.limits.memory, kept, "are kept apart from that, in memory or on disk, and take up to")


def measured(report: Report) -> Iterator[str]:
    """A sentence on features that stood in memory and were larger than the limit, if there were any."""
    if report.memory_limit is None:
        return
    kept: dict[str, int] = {}
    for line in report.variants:
        # The first stage reads images, which every variant needs.
        images = line.stages[0].resident_bytes or 0
        size = max(stage.resident_bytes or 0 for stage in line.stages) - images
        kept[line.label] = max(size, kept.get(line.label, 0))
    yield from _told(report.memory_limit, kept, "stood in memory apart from that and took")


def without_room(spec: ExperimentSpec, report: Report) -> Iterator[str]:
    """A sentence on the stages some of whose trainings had their features elsewhere than in memory, unasked.

    One that variants share is one search, and told once.
    """
    if not spec.recipe.cached_features:
        return
    slowed = []
    for shared in shared_stages(report):
        features = shared.stage.features
        trainings = sum(features.values())
        how = " and ".join(
            f"{features[where]} of {trainings} trainings {done}"
            for where, done in ELSEWHERE.items()
            if features.get(where)
        )
        if how:
            slowed.append(f"{listed(shared.users)}, stage {shared.number}: {how}")
    if slowed:
        yield (
            "Workers' memory had no room for the frozen features that these stages read, which takes longer: "
            f"{'; '.join(slowed)}. Training and search times, their ratios and what `budget: seconds` allows depend on "
            "that; accuracies do not."
        )


def _told(limit: int, kept: Mapping[str, int], how: str) -> Iterator[str]:
    beyond = [f"{mebibytes(size)} for {name}" for name, size in kept.items() if size > limit]
    if beyond:
        yield (
            f"limits.memory, {mebibytes(limit)}, bounds what a training takes. Frozen features {how} "
            f"{', '.join(beyond)}; `training.features: recomputed` does without them, for more time."
        )
