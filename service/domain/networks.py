"""A variant on one seed, chosen among those of an experiment, and what is told of it and of its embeddings.

The views have the fields of ``contract.networks``.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service.domain.errors import Fault, InvalidRequest
from service.domain.experiment import ExperimentSpec, Recipe, Variant
from service.domain.layers import Shape, Stage
from service.domain.plan import Plan, PlannedVariant, searched_seeds
from service.domain.space import Point
from service.domain.work import DatasetUse

DEFAULT_POINTS = 2000


@dataclass(frozen=True, slots=True)
class NetworkChoice:
    """What was asked for; by default the last phase and the first seed."""

    variant: Variant
    phase: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ChosenNetwork:
    """A variant of the plan on a seed; ``path`` are the keys of the searches of its stages, first to last."""

    planned: PlannedVariant
    seed: int
    path: tuple[str, ...]


def choose(spec: ExperimentSpec, plan: Plan, choice: NetworkChoice) -> ChosenNetwork:
    """The network that is meant. Raises InvalidRequest with every fault of the choice."""
    variant = choice.variant
    phase = len(spec.phases) - 1 if choice.phase is None else choice.phase
    seed = spec.seeds[0] if choice.seed is None else choice.seed
    faults = []
    if variant.architecture not in [item.name for item in spec.architectures]:
        names = ", ".join(item.name for item in spec.architectures)
        faults.append(
            Fault("architecture", f"{variant.architecture!r} is none of this experiment; choose from {names}")
        )
    elif variant not in spec.variants:
        labels = "; ".join(item.label for item in spec.variants if item.architecture == variant.architecture)
        faults.append(Fault("learning", f"{variant.label!r} is no variant of this experiment; choose from {labels}"))
    if phase >= len(spec.phases):
        faults.append(Fault("phase", f"{phase} is beyond the last phase, {len(spec.phases) - 1}"))
    if seed not in spec.seeds:
        faults.append(Fault("seed", f"{seed} is none of the seeds; choose from {', '.join(map(str, spec.seeds))}"))
    if faults:
        raise InvalidRequest(None if len(faults) == 1 else f"the request has {len(faults)} faults", faults)
    planned = next(item for item in plan.variants if item.variant == variant and item.phase == phase)
    by_seed = dict(zip(searched_seeds(spec), planned.paths, strict=True))
    return ChosenNetwork(planned, seed, by_seed.get(seed, planned.path))


def embedding_points(test_images: int, points: int | None, perplexity: float) -> int:
    """How many points an embedding has. Raises InvalidRequest for more than the test set, or too few of them."""
    count = min(DEFAULT_POINTS, test_images) if points is None else points
    if count > test_images:
        raise InvalidRequest(faults=[Fault("points", f"{count:,} is more than the {test_images:,} test images")])
    # Three times as many neighbours are looked at as the perplexity says.
    if 3 * perplexity > count - 1:
        most = f"it may be {max(count - 1, 0) / 3:.3g} at most for {count:,} points"
        raise InvalidRequest(faults=[Fault("perplexity", f"{perplexity:g} is too large: {most}")])
    return count


@dataclass(frozen=True, slots=True)
class EmbeddingStageView:
    """A stage of an embedding; the figures are there once it is finished."""

    stage: str
    dimensions: int | None
    components: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class EmbeddingView:
    """An embedding and how far it is; ``checkpoint`` names the file with its coordinates.

    ``class_names`` are by label, empty where the data set's classes have none.
    """

    id: UUID
    variants: tuple[str, ...]
    phase: int
    seed: int
    points: int
    perplexity: float
    state: str
    created_at: datetime
    stages: tuple[EmbeddingStageView, ...]
    seconds: float | None
    failure: str | None
    checkpoint: str | None
    class_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NetworkStageView:
    """A trained stage of a network."""

    notation: str
    stage: Stage
    checkpoint: str
    hyperparameters: Point
    epochs: int
    validation_accuracy: float
    training_accuracy: float
    training_seconds: float
    feature_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A finished variant on one seed."""

    experiment: UUID
    name: str
    variant: str
    learning: str
    phase: int
    seed: int
    dataset: DatasetUse
    shape: Shape
    recipe: Recipe
    stages: tuple[NetworkStageView, ...]
    test_accuracy: float | None
    test_precision: str | None
    test_images: int
