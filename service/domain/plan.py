"""The plan of an experiment: the prefix trees of its phases, with identical prefixes merged."""

from dataclasses import dataclass
from itertools import chain

from service.domain import shapes
from service.domain.experiment import ExperimentSpec, Phase, Variant
from service.domain.identity import search_key
from service.domain.layers import Layer, Stage
from service.domain.notation import write
from service.domain.states import Learning

NAME_LENGTH = 120


@dataclass(frozen=True, slots=True)
class PlannedSearch:
    """A stage search: a node of a phase's prefix tree.

    ``key`` is its identity (DESIGN 15): a SHA-256 over everything that determines it. ``parent`` is the search that
    decides the last stage of its prefix, ``earlier`` the same stage's search of the phase before, whose incumbent is
    the first trial here. A search opens when both are decided. ``used_by`` are indexes into the experiment's variants.
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

    @property
    def depth(self) -> int:
        return len(self.prefix)


@dataclass(frozen=True, slots=True)
class PlannedVariant:
    """A variant in a phase: the searches of its stages from first to last."""

    variant: Variant
    phase: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Searches in an order in which every parent and earlier search stands before its children."""

    searches: tuple[PlannedSearch, ...]
    variants: tuple[PlannedVariant, ...]
    trials: int
    fits: int
    evaluations: int
    stage_trainings_without_sharing: int
    multiply_adds: int


def plan_experiment(spec: ExperimentSpec, salt: str | None = None) -> Plan:
    """Merge the prefixes of all variants, a tree per phase. A ``salt`` keeps the searches from equalling any others."""
    architectures = {architecture.name: architecture.stages for architecture in spec.architectures}
    resolved = [
        shapes.resolve(_stages(architectures[variant.architecture], variant.learning), spec.dataset.shape)
        for variant in spec.variants
    ]
    nodes: dict[str, _Node] = {}
    planned: list[PlannedVariant] = []
    before: list[tuple[str, ...]] = [()] * len(spec.variants)
    for number, phase in enumerate(spec.phases):
        for index, (variant, stages) in enumerate(zip(spec.variants, resolved, strict=True)):
            path: list[str] = []
            for depth, stage in enumerate(stages):
                parent = path[-1] if path else None
                earlier = before[index][depth] if before[index] else None
                key = search_key(spec, phase, stage, parent, earlier, salt)
                node = nodes.setdefault(key, _Node(number, phase, stage, stages[:depth], parent, earlier, []))
                if index not in node.used_by:
                    node.used_by.append(index)
                path.append(key)
            before[index] = tuple(path)
            planned.append(PlannedVariant(variant, number, tuple(path)))
    searches = tuple(_search(spec, key, node) for key, node in nodes.items())
    extra_seeds = len(spec.seeds) - 1
    return Plan(
        searches=searches,
        variants=tuple(planned),
        trials=sum(search.budget.trials for search in searches),
        fits=len(searches) * extra_seeds,
        evaluations=len({variant.path[-1] for variant in planned}) * len(spec.seeds),
        stage_trainings_without_sharing=sum(len(variant.path) for variant in planned),
        multiply_adds=sum(
            search.multiply_adds * search.budget.epochs * spec.split.train * (search.budget.trials + extra_seeds)
            for search in searches
        ),
    )


@dataclass(frozen=True, slots=True)
class _Node:
    phase: int
    budget: Phase
    stage: Stage
    prefix: tuple[Stage, ...]
    parent: str | None
    earlier: str | None
    used_by: list[int]


def _stages(stages: tuple[tuple[Layer, ...], ...], learning: Learning) -> tuple[tuple[Layer, ...], ...]:
    return (tuple(chain.from_iterable(stages)),) if learning is Learning.TOTAL else stages


def _search(spec: ExperimentSpec, key: str, node: _Node) -> PlannedSearch:
    classes = spec.dataset.classes
    return PlannedSearch(
        key=key,
        name=_name(spec.dataset.name, key, node),
        phase=node.phase,
        budget=node.budget,
        stage=node.stage,
        prefix=node.prefix,
        parent=node.parent,
        earlier=node.earlier,
        used_by=tuple(node.used_by),
        parameters=shapes.parameters(node.stage, classes),
        multiply_adds=shapes.multiply_adds(node.stage, classes),
    )


def _name(dataset: str, key: str, node: _Node) -> str:
    """``cifar10 1ep Conv-3-32 | Conv-3-32 Pool-2 #3f9a2c1b07d4``, never longer than a dashboard's list shows.

    A long prefix loses its front, a long stage its middle.
    """
    head = f"{dataset if len(dataset) <= 30 else dataset[:29] + '…'} {node.budget.epochs}ep "
    tail = f" #{key[:12]}"
    room = NAME_LENGTH - len(head) - len(tail) - len("… | ")
    body = write(node.stage.layers)
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
