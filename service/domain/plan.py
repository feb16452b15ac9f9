"""The plan of an experiment: the prefix trees of its phases, with identical prefixes merged."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, chain
from types import MappingProxyType

from service.domain import shapes
from service.domain.experiment import ExperimentSpec, Phase, Variant
from service.domain.identity import Place, search_key
from service.domain.layers import Layer, Stage
from service.domain.notation import write
from service.domain.range_test import images
from service.domain.states import BudgetRule, Learning, Objective
from service.domain.workload import Workload, workload

NAME_LENGTH = 120
SECONDS_TRIALS = 10
"""A search that may spend seconds ends after this many times the phase's trials, however cheap they are."""
NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PlannedSearch:
    """A stage search: a node of a phase's prefix tree.

    ``key`` is its identity (DESIGN 15): a SHA-256 over everything that determines it. ``parent`` is the search that
    decides the last stage of its prefix, ``earlier`` the same stage's search of the phase before, whose incumbent is
    the first trial here; ``matches`` are the searches whose measured seconds this one may spend. A search opens when
    all of them have ended. ``used_by`` are indexes into the experiment's variants, ``segments`` the layers at which
    gradient checkpointing keeps activations. ``draws`` is the key that random draws depend on where it is not ``key``:
    searches of the same trainings, with checkpoints or for longer, try the same points, so that luck parts them less.
    """

    key: str
    name: str
    phase: int
    budget: Phase
    stage: Stage
    prefix: tuple[Stage, ...]
    parent: str | None
    earlier: str | None
    used_by: tuple[int, ...]
    parameters: int
    multiply_adds: int
    seed: int = 0
    objective: Objective = Objective.CLASSIFICATION
    segments: tuple[int, ...] = ()
    matches: tuple[str, ...] = ()
    draws: str | None = None

    @property
    def depth(self) -> int:
        return len(self.prefix)

    @property
    def stands_on(self) -> tuple[str | None, ...]:
        """The keys of what it waits for: its parent, the earlier search and its matches."""
        return (self.parent, self.earlier, *self.matches)


@dataclass(frozen=True, slots=True)
class PlannedVariant:
    """A variant in a phase: the searches of its stages from first to last; one path for each seed that is searched."""

    variant: Variant
    phase: int
    paths: tuple[tuple[str, ...], ...]

    @property
    def path(self) -> tuple[str, ...]:
        """The path on the first seed."""
        return self.paths[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Work of several searches together.

    ``trials`` and ``confirmations`` are as many as there can be, ``least_trials`` are certain, ``multiply_adds`` those
    of all trainings at most. What has a default is not in the rows of older plans.
    """

    trials: int
    fits: int
    evaluations: int
    multiply_adds: int
    least_trials: int = 0
    range_tests: int = 0
    confirmations: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Totals):
    """Searches in an order in which every search stands after all those it waits for, with the totals of their work."""

    searches: tuple[PlannedSearch, ...]
    variants: tuple[PlannedVariant, ...]
    stage_trainings_without_sharing: int

    @property
    def leaves(self) -> frozenset[str]:
        """The keys of the searches of last stages."""
        return _leaves(self.variants)


def plan_experiment(spec: ExperimentSpec, salt: str | None = None, apart: Mapping[str, str] = NONE) -> Plan:
    """Merge the prefixes of all variants, a tree per phase. A ``salt`` keeps the searches from equalling any others.

    A search whose key is in ``apart`` has the one that stands there instead, and what stands on it follows.
    """

    def identify(place: Place) -> str:
        key = search_key(spec, place, salt)
        return apart.get(key, key)

    nodes: dict[str, _Node] = {}
    planned: list[PlannedVariant] = []
    before: dict[tuple[int, int], tuple[str, ...]] = {}
    for number, phase in enumerate(spec.phases):
        paths: dict[tuple[int, int], tuple[str, ...]] = {}
        for index, seed in _in_order(spec):
            earlier = before.get((index, seed)) if phase.from_incumbents else None
            matches = _matches(spec, index, seed, paths)
            paths[index, seed] = _path(spec, number, index, seed, earlier, matches, nodes, identify)
        before = paths
        planned += [
            PlannedVariant(variant, number, tuple(paths[index, seed] for seed in searched_seeds(spec)))
            for index, variant in enumerate(spec.variants)
        ]
    searches = tuple(_searches(spec, nodes, identify))
    work = full_work(spec, searches, _leaves(planned))
    return Plan(
        searches=searches,
        variants=tuple(planned),
        stage_trainings_without_sharing=sum(len(path) for variant in planned for path in variant.paths),
        **asdict(total(spec, searches, work)),
    )


def full_work(spec: ExperimentSpec, searches: Iterable[PlannedSearch], leaves: Collection[str]) -> dict[str, Workload]:
    """The work of every search by key, as if nothing were there; ``leaves`` are the keys of those of last stages."""
    return {search.key: workload(spec, search.budget, search.matches, leaf=search.key in leaves) for search in searches}


def total(spec: ExperimentSpec, searches: Iterable[PlannedSearch], work: Mapping[str, Workload]) -> Totals:
    """The ``work`` of some searches of an experiment, by key, together."""
    known = [(search, work[search.key]) for search in searches]
    return Totals(
        trials=sum(work.trials for _, work in known),
        least_trials=sum(work.least_trials for _, work in known),
        range_tests=sum(work.range_tests for _, work in known),
        confirmations=sum(work.confirmations + work.again for _, work in known),
        fits=sum(work.fits for _, work in known),
        evaluations=sum(work.evaluations for _, work in known),
        multiply_adds=sum(search.multiply_adds * _images(spec, search, work) for search, work in known),
    )


def searched_seeds(spec: ExperimentSpec) -> tuple[int, ...]:
    """The seeds that have searches of their own; the others only have fits."""
    return spec.seeds if spec.search.every_seed else spec.seeds[:1]


def _leaves(variants: Iterable[PlannedVariant]) -> frozenset[str]:
    return frozenset(path[-1] for variant in variants for path in variant.paths)


def _images(spec: ExperimentSpec, search: PlannedSearch, work: Workload) -> int:
    """How many images a search's work trains on, at most."""
    epochs, train = search.budget.epochs, spec.split.train
    trainings = work.trials + work.confirmations + work.again + work.fits
    return trainings * epochs * train + work.range_tests * images(spec.recipe.batch_size, train, epochs)


@dataclass(frozen=True, slots=True)
class _Node:
    number: int
    place: Place
    prefix: tuple[Stage, ...]
    used_by: list[int]


def _in_order(spec: ExperimentSpec) -> Iterator[tuple[int, int]]:
    """Variants by index and seed; those that wait for the seconds of others come after these."""
    order = sorted(range(len(spec.variants)), key=lambda index: spec.variants[index].budget is BudgetRule.SECONDS)
    return ((index, seed) for index in order for seed in searched_seeds(spec))


def _matches(
    spec: ExperimentSpec, index: int, seed: int, paths: dict[tuple[int, int], tuple[str, ...]]
) -> tuple[str, ...]:
    """The path of the Partial variant whose measured seconds a variant may spend."""
    variant = spec.variants[index]
    if variant.budget is not BudgetRule.SECONDS:
        return ()
    return paths[spec.variants.index(Variant(variant.architecture, Learning.PARTIAL)), seed]


def _path(
    spec: ExperimentSpec,
    number: int,
    index: int,
    seed: int,
    earlier: tuple[str, ...] | None,
    matches: tuple[str, ...],
    nodes: dict[str, _Node],
    identify: Callable[[Place], str],
) -> tuple[str, ...]:
    """The searches of a variant on a seed; new ones go into ``nodes``."""
    variant = spec.variants[index]
    stages = _stages(spec, variant)
    phase = _phase(spec, spec.phases[number], variant)
    path: list[str] = []
    for depth, stage in enumerate(stages):
        last = depth == len(stages) - 1
        place = Place(
            phase=phase,
            stage=stage,
            seed=seed,
            parent=path[-1] if path else None,
            earlier=earlier[depth] if earlier else None,
            objective=Objective.CLASSIFICATION if last else spec.recipe.objective,
            segments=_cuts(spec, variant) if variant.checkpointing else (),
            matches=matches,
        )
        key = identify(place)
        node = nodes.setdefault(key, _Node(number, place, stages[:depth], []))
        if index not in node.used_by:
            node.used_by.append(index)
        path.append(key)
    return tuple(path)


def _phase(spec: ExperimentSpec, phase: Phase, variant: Variant) -> Phase:
    """The budget of a variant's searches under its rule."""
    match variant.budget:
        case BudgetRule.EPOCHS:
            return phase
        case BudgetRule.PASSES:
            return replace(phase, epochs=phase.epochs * len(_layers(spec, variant)))
        case BudgetRule.SECONDS:
            return replace(phase, trials=phase.trials * SECONDS_TRIALS)


def _layers(spec: ExperimentSpec, variant: Variant) -> tuple[tuple[Layer, ...], ...]:
    return next(item.stages for item in spec.architectures if item.name == variant.architecture)


def _cuts(spec: ExperimentSpec, variant: Variant) -> tuple[int, ...]:
    """The numbers of the layers that stand first in a stage, but for the first stage."""
    return tuple(accumulate(len(stage) for stage in _layers(spec, variant)))[:-1]


def _stages(spec: ExperimentSpec, variant: Variant) -> tuple[Stage, ...]:
    layers = _layers(spec, variant)
    if variant.learning is Learning.PARTIAL:
        return shapes.resolve(layers, spec.dataset.shape)
    (whole,) = shapes.resolve((tuple(chain.from_iterable(layers)),), spec.dataset.shape)
    return (replace(whole, norms=_cuts(spec, variant)),) if variant.normalize_cuts else (whole,)


def _searches(
    spec: ExperimentSpec, nodes: Mapping[str, _Node], identify: Callable[[Place], str]
) -> Iterator[PlannedSearch]:
    """In the order of ``nodes``, where phases follow each other."""
    drawn: dict[str, str] = {}
    for key, node in nodes.items():
        draws = identify(_plain(spec, node, drawn)) if node.place.follows_draws else None
        drawn[key] = draws or key
        yield _search(spec, key, node, draws)


def _search(spec: ExperimentSpec, key: str, node: _Node, draws: str | None) -> PlannedSearch:
    place, classes, head = node.place, spec.dataset.classes, spec.recipe.head
    return PlannedSearch(
        key=key,
        name=_name(spec.dataset.name, key, node),
        phase=node.number,
        budget=place.phase,
        stage=place.stage,
        prefix=node.prefix,
        parent=place.parent,
        earlier=place.earlier,
        used_by=tuple(node.used_by),
        parameters=shapes.parameters(place.stage, classes, head),
        multiply_adds=shapes.multiply_adds(place.stage, classes, head),
        seed=place.seed,
        objective=place.objective,
        segments=place.segments,
        matches=place.matches,
        draws=draws,
    )


def _plain(spec: ExperimentSpec, node: _Node, drawn: Mapping[str, str]) -> Place:
    """The same trainings without checkpoints, in a search of as many trials as the phase has, in every phase."""
    phase = replace(node.place.phase, trials=spec.phases[node.number].trials)
    earlier = node.place.earlier and drawn[node.place.earlier]
    return replace(node.place, phase=phase, earlier=earlier, segments=(), matches=())


def _name(dataset: str, key: str, node: _Node) -> str:
    """``cifar10 1ep Conv-3-32 | Conv-3-32 Pool-2 #3f9a2c1b07d4``, never longer than a dashboard's list shows.

    A long prefix loses its front, a long stage its middle.
    """
    head = f"{dataset if len(dataset) <= 30 else dataset[:29] + '…'} {node.place.phase.epochs}ep "
    tail = f" #{key[:12]}"
    room = NAME_LENGTH - len(head) - len(tail) - len("… | ")
    body = write(node.place.stage.layers)
    if len(body) > room:
        front = room // 2
        body = f"{body[:front]}…{body[front + 1 - room :]}"
    for before in reversed(node.prefix):
        longer = f"{write(before.layers)} | {body}"
        if len(longer) > room:
            body = f"… | {body}"
            break
        body = longer
    return head + body + tail
