"""Which variants a report compares, and what the comparisons say: paired over seeds, adjusted for their number."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import fmean

from service.domain.experiment import ExperimentSpec, Variant
from service.domain.findings import Findings
from service.domain.layers import Layer
from service.domain.report import Costs, Effort, Gap, Lead
from service.domain.states import BudgetRule, Learning
from service.domain.statistics import (
    SIGNIFICANCE,
    Difference,
    crossed_difference,
    difference,
    difference_error,
    holm,
    ratio,
)

# The searches of a variant's stages, for every seed that is searched.
Paths = tuple[tuple[str, ...], ...]
WITHIN_NOISE = "within noise"
RULES = {
    BudgetRule.EPOCHS: "at equal epochs per stage",
    BudgetRule.PASSES: "at equal image passes",
    BudgetRule.SECONDS: "at equal search seconds",
}
METHODS = {
    "crossed": "paired by seed and image",
    "crossed-images": "paired by image",
    "paired": "paired by seed",
    "images": "error from the number of images",
}


@dataclass(frozen=True, slots=True)
class Comparisons:
    """All of a report's; ``count`` of different ones, which is what their p-values are adjusted for.

    A checkpointed Total that did bit by bit what the plain one did asks nothing that the plain one has not asked.
    """

    gaps: tuple[Gap, ...]
    leads: tuple[Lead, ...]
    count: int
    baseline: str | None


@dataclass(frozen=True, slots=True)
class _Pair:
    """One variant minus another of the same phase."""

    first: Findings
    second: Findings
    validation: Difference
    test: Difference | None
    efforts: tuple[Effort, Effort]
    costs: Costs

    @property
    def searches(self) -> frozenset[Paths]:
        """What is compared, whatever the variants are called."""
        return frozenset({self.first.planned.paths, self.second.planned.paths})

    @property
    def deciding(self) -> Difference:
        """Validation accuracies chose the hyperparameters; the test decides as soon as there is one."""
        return self.test or self.validation


def compare(spec: ExperimentSpec, findings: Sequence[Findings]) -> Comparisons:
    """Total minus Partial of every network, and every variant minus the baseline, as far as there are results.

    A pair that is a gap is no lead as well: that would be the same figures mirrored, counted and believed twice.
    """
    gaps = _measured(spec, _total_and_partial(spec, findings))
    told = {pair.searches for pair in gaps}
    leads = [pair for pair in _measured(spec, _variant_and_baseline(spec, findings)) if pair.searches not in told]
    told |= {pair.searches for pair in leads}
    # The best Total that fits may be of the same network, or the baseline by another name.
    leads += [pair for pair in _measured(spec, _partial_and_best_total(spec, findings)) if pair.searches not in told]
    leads.sort(key=lambda pair: pair.first.planned.phase)
    adjusted, count = _adjusted([*gaps, *leads], _repeats(findings))
    baseline = _baseline(spec)
    return Comparisons(
        gaps=tuple(_gap(spec, pair, adjusted[pair.searches], count) for pair in gaps),
        leads=tuple(_lead(spec, pair, adjusted[pair.searches], count) for pair in leads),
        count=count,
        baseline=baseline.label if baseline in spec.variants else None,
    )


def _adjusted(pairs: Sequence[_Pair], repeats: Mapping[Paths, Paths]) -> tuple[dict[frozenset[Paths], float], int]:
    """The p-values of ``pairs`` by what they compare, and how many comparisons they are adjusted for."""
    asked = {pair.searches: frozenset(repeats.get(paths, paths) for paths in pair.searches) for pair in pairs}
    found = {pair.searches: pair.deciding.p_value for pair in pairs}
    # A network beside its own repetition is no question.
    chances = {asked[searches]: chance for searches, chance in found.items() if len(asked[searches]) > 1}
    holms = dict(zip(chances, holm(list(chances.values())), strict=True))
    return {searches: holms.get(asked[searches], chance) for searches, chance in found.items()}, len(holms)


def _repeats(findings: Sequence[Findings]) -> dict[Paths, Paths]:
    """Of checkpointed Totals the plain ones that they repeat (decision 19): no accuracy and no test image differs."""
    by_variant = {(item.planned.phase, item.planned.variant): item for item in findings}
    found = {}
    for (phase, variant), item in by_variant.items():
        plain = by_variant.get((phase, replace(variant, checkpointing=False)))
        if plain is None or plain is item:
            continue
        if (item.validation, item.test, item.right) == (plain.validation, plain.test, plain.right):
            found[item.planned.paths] = plain.planned.paths
    return found


def _baseline(spec: ExperimentSpec) -> Variant:
    """Total Learning of the first architecture, nothing added."""
    return Variant(spec.architectures[0].name, Learning.TOTAL)


def _total_and_partial(spec: ExperimentSpec, findings: Sequence[Findings]) -> Iterator[tuple[Findings, Findings]]:
    """Each Total against the Partial of its network: the same layers, however they are cut or called.

    What a budget rule gives to Total, and where it is normalised or checkpointed, depends on the cuts: such a Total is
    of the same architecture. Plain Totals of a network are one search; the one of the same name stands for them.
    """
    for partial in findings:
        if partial.planned.variant.learning is not Learning.PARTIAL:
            continue
        architecture = partial.planned.variant.architecture
        seen = {partial.planned.paths}
        for total in sorted(
            _totals(spec, findings, partial), key=lambda item: item.planned.variant.architecture != architecture
        ):
            if total.planned.paths not in seen:
                seen.add(total.planned.paths)
                yield total, partial


def _totals(spec: ExperimentSpec, findings: Sequence[Findings], partial: Findings) -> Iterator[Findings]:
    architecture = partial.planned.variant.architecture
    for total in findings:
        variant = total.planned.variant
        if variant.learning is not Learning.TOTAL or total.planned.phase != partial.planned.phase:
            continue
        plain = variant == Variant(variant.architecture, Learning.TOTAL)
        if variant.architecture == architecture or (
            plain and _network(spec, variant.architecture) == _network(spec, architecture)
        ):
            yield total


def _network(spec: ExperimentSpec, name: str) -> tuple[Layer, ...]:
    stages = next(architecture.stages for architecture in spec.architectures if architecture.name == name)
    return tuple(chain.from_iterable(stages))


def _variant_and_baseline(spec: ExperimentSpec, findings: Sequence[Findings]) -> Iterator[tuple[Findings, Findings]]:
    """Each variant and the baseline of its phase."""
    for baseline in findings:
        if baseline.planned.variant == _baseline(spec):
            here = (item for item in findings if item.planned.phase == baseline.planned.phase)
            yield from ((item, baseline) for item in here if item.planned.paths != baseline.planned.paths)


def _partial_and_best_total(spec: ExperimentSpec, findings: Sequence[Findings]) -> Iterator[tuple[Findings, Findings]]:
    """Partial of every network whose Total is infeasible, and the best Total of the phase that fits."""
    for phase in range(len(spec.phases)):
        here = [item for item in findings if item.planned.phase == phase]
        totals = [item for item in here if item.planned.variant.learning is Learning.TOTAL and item.validation]
        if not totals:
            continue
        best = max(totals, key=lambda item: fmean(item.validation.values()))
        for partial in here:
            if partial.planned.variant.learning is Learning.PARTIAL and any(
                total.infeasible for total in _totals(spec, here, partial)
            ):
                yield partial, best


def _measured(spec: ExperimentSpec, pairs: Iterator[tuple[Findings, Findings]]) -> list[_Pair]:
    found = []
    for first, second in pairs:
        validation = difference(first.validation, second.validation, spec.split.validation)
        if validation is not None:
            test = _tested(first, second, spec.dataset.test)
            efforts = (_effort(spec, first), _effort(spec, second))
            found.append(_Pair(first, second, validation, test, efforts, _costs(first, second)))
    return found


def _tested(first: Findings, second: Findings, images: int) -> Difference | None:
    """The difference on the test set, over its images as well if all tests that count say which were right.

    Older workers did not, and on a seed without a network there is nothing to say.
    """
    if first.test.keys() & second.test.keys() == first.right.keys() & second.right.keys():
        return crossed_difference(first.right, second.right, images)
    return difference(first.test, second.test, images)


def _effort(spec: ExperimentSpec, findings: Findings) -> Effort:
    budget = spec.phases[findings.planned.phase].trials
    return Effort(
        trials=sum(len(search.tried) for search in findings.searches),
        second_round_trials=sum(
            max(0, len(search.tried) - budget) for search in findings.searches if search.second_round
        ),
        passes=sum(search.epochs for search in findings.paths[0]),
    )


def _costs(first: Findings, second: Findings) -> Costs:
    memory = None
    one, other = first.largest, second.largest
    if one and other and other.memory_bytes and one.memory_method == other.memory_method:
        memory = one.memory_bytes / other.memory_bytes
    return Costs(ratio(first.seconds, second.seconds), memory)


def _gap(spec: ExperimentSpec, pair: _Pair, adjusted: float, count: int) -> Gap:
    total, partial = pair.first.planned, pair.second.planned
    one, other = (fmean(item.validation.values()) for item in (pair.first, pair.second))
    verdict = _verdict(pair.deciding, adjusted, "total better", "partial better")
    return Gap(
        phase=partial.phase,
        partial=partial.variant.label,
        total=total.variant.label,
        validation_points=pair.validation.points,
        test_points=None if pair.test is None else pair.test.points,
        standard_error_points=100 * difference_error(one, other, spec.split.validation),
        budget=total.variant.budget,
        checkpointing=total.variant.checkpointing,
        normalize_cuts=total.variant.normalize_cuts,
        validation=pair.validation,
        test=pair.test,
        adjusted_p_value=adjusted,
        verdict=verdict,
        sentence=f"{_sentence(spec, pair, adjusted, count, RULES[total.variant.budget])}: {verdict}.{_cost(pair)}",
        total_effort=pair.efforts[0],
        partial_effort=pair.efforts[1],
        costs=pair.costs,
    )


def _lead(spec: ExperimentSpec, pair: _Pair, adjusted: float, count: int) -> Lead:
    verdict = _verdict(pair.deciding, adjusted, "better", "worse")
    return Lead(
        phase=pair.first.planned.phase,
        variant=pair.first.planned.variant.label,
        against=pair.second.planned.variant.label,
        validation=pair.validation,
        test=pair.test,
        adjusted_p_value=adjusted,
        verdict=verdict,
        sentence=f"{_sentence(spec, pair, adjusted, count)}: {verdict}.{_cost(pair)}",
        variant_effort=pair.efforts[0],
        against_effort=pair.efforts[1],
        costs=pair.costs,
    )


def _verdict(found: Difference, adjusted: float, above: str, below: str) -> str:
    if adjusted >= SIGNIFICANCE:
        return WITHIN_NOISE
    return above if found.points > 0 else below


def _sentence(spec: ExperimentSpec, pair: _Pair, adjusted: float, count: int, rule: str = "") -> str:
    """`CNN 6 total (11 trials, 1 pass) is 1.2 points below CNN 6 partial (22 trials, 2 passes) on 10,000 test images
    (95 % interval ...; 5 seeds, ...; p = ...)`.
    """
    found = pair.deciding
    images = f"{spec.dataset.test:,} test" if pair.test else f"{spec.split.validation:,} validation"
    sides = (pair.first.planned, pair.second.planned)
    phase = f"phase {sides[0].phase + 1}: " if len(spec.phases) > 1 else ""
    points = f"{abs(found.points):.1f}"
    where = "level with" if points == "0.0" else f"{points} points {'below' if found.points < 0 else 'above'}"
    chance = "p < 0.001" if adjusted < 0.001 else f"p = {adjusted:.3f}"
    seeds = "one seed" if found.seeds == 1 else f"{found.seeds} seeds"
    bounds = "95 % interval" if found.method.startswith("crossed") else "interval of at least 95 %:"
    holms = f" by Holm for {count} comparisons" if count > 1 else ""
    one, other = (f"{side.variant.label} ({_put_in(effort)})" for side, effort in zip(sides, pair.efforts, strict=True))
    return (
        f"{phase}{one} is {where} {other} on {images} images{f' {rule}' if rule else ''} "
        f"({bounds} {found.low:+.1f} to {found.high:+.1f}; {seeds}, {METHODS[found.method]}; {chance}{holms})"
    )


def _put_in(effort: Effort) -> str:
    trials = "1 trial" if effort.trials == 1 else f"{effort.trials} trials"
    return f"{trials}, {'1 pass' if effort.passes == 1 else f'{effort.passes} passes'}"


def _cost(pair: _Pair) -> str:
    """` Its training takes 0.98 times the seconds (95 % interval 0.95 to 1.01; 5 seeds) and 2.13 times the memory.`"""
    found = []
    seconds, memory = pair.costs.seconds, pair.costs.memory
    if seconds is not None:
        seeds = "one seed"
        if seconds.low is not None and seconds.high is not None:
            seeds = f"95 % interval {seconds.low:.2f} to {seconds.high:.2f}; {len(seconds.values)} seeds"
        found.append(f"{seconds.ratio:.2f} times the seconds ({seeds})")
    if memory is not None:
        found.append(f"{memory:.2f} times the memory")
    return f" Its training takes {' and '.join(found)}." if found else ""
