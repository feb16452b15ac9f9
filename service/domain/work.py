"""What a worker is told to do; the fields are those of ``contract.tasks.TaskWork``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.domain.experiment import Dataset, ExperimentSpec, Recipe, Split
from service.domain.layers import Stage
from service.domain.plan import PlannedSearch
from service.domain.range_test import STEPS, learning_rates, middle
from service.domain.space import Point, Space
from service.domain.states import Pruner


@dataclass(frozen=True, slots=True)
class PrefixStage:
    """A frozen stage and the SHA-256 of the checkpoint with its weights."""

    stage: Stage
    checkpoint: str


@dataclass(frozen=True, slots=True)
class DatasetUse:
    """Which data set, by content, and which split and preprocessing of it."""

    name: str
    digest: str
    classes: int
    train: int
    validation: int
    preprocessing: str


@dataclass(frozen=True, slots=True)
class EmbeddingUse:
    """How many points of the test set a t-SNE shows, and at what perplexity."""

    points: int
    perplexity: float


@dataclass(frozen=True, slots=True)
class TaskWork:
    """A trial or a fit has hyperparameters; an evaluation and an embedding have the last stage's checkpoint instead.

    ``segments`` are the layers at which gradient checkpointing keeps activations. ``pruned``: measurements are sent as
    they are made, since the server may end the trial. ``learning_rates`` are those a range test tries, in order.
    """

    dataset: DatasetUse
    prefix: tuple[PrefixStage, ...]
    stage: Stage
    recipe: Recipe
    epochs: int
    seed: int
    hyperparameters: Point | None
    checkpoint: str | None
    memory_limit: int | None
    time_limit: float | None
    segments: tuple[int, ...] = ()
    pruned: bool = False
    learning_rates: tuple[float, ...] = ()
    rate_steps: int = STEPS
    embedding: "EmbeddingUse | None" = None


def trial_work(
    spec: ExperimentSpec, search: PlannedSearch, prefix_checkpoints: Sequence[str], point: Point, seed: int
) -> TaskWork:
    """A trial of the search's stage on the checkpoints of its prefix, root first."""
    pruned = spec.search.pruner is not Pruner.NONE
    return replace(training_work(spec, search, prefix_checkpoints, point, seed), pruned=pruned)


def range_test_work(
    spec: ExperimentSpec, search: PlannedSearch, prefix_checkpoints: Sequence[str], space: Space, seed: int
) -> TaskWork:
    """The range test of the search's stage over the learning rates of its space."""
    work = training_work(spec, search, prefix_checkpoints, middle(space), seed)
    return replace(work, learning_rates=learning_rates(space))


def training_work(
    spec: ExperimentSpec, search: PlannedSearch, prefix_checkpoints: Sequence[str], point: Point, seed: int
) -> TaskWork:
    """A fit of the search's stage on the checkpoints of its prefix, root first."""
    return _work(spec, search, prefix_checkpoints, seed, point, None)


def evaluation_work(
    spec: ExperimentSpec, search: PlannedSearch, prefix_checkpoints: Sequence[str], checkpoint: str, seed: int
) -> TaskWork:
    """The test of a network that ends with the search's stage: ``checkpoint`` on those of its prefix, root first."""
    return _work(spec, search, prefix_checkpoints, seed, None, checkpoint)


def _work(
    spec: ExperimentSpec,
    search: PlannedSearch,
    prefix_checkpoints: Sequence[str],
    seed: int,
    point: Point | None,
    checkpoint: str | None,
) -> TaskWork:
    frozen = zip(search.prefix, prefix_checkpoints, strict=True)
    return TaskWork(
        dataset=dataset_use(spec.dataset, spec.split),
        prefix=tuple(PrefixStage(stage, digest) for stage, digest in frozen),
        stage=search.stage,
        recipe=replace(spec.recipe, objective=search.objective),
        epochs=search.budget.epochs,
        seed=seed,
        hyperparameters=point,
        checkpoint=checkpoint,
        memory_limit=spec.limits.memory,
        time_limit=spec.limits.time,
        segments=search.segments,
    )


def dataset_use(dataset: Dataset, split: Split) -> DatasetUse:
    """The data set as a worker needs it."""
    return DatasetUse(
        name=dataset.name,
        digest=dataset.digest,
        classes=dataset.classes,
        train=split.train,
        validation=split.validation,
        preprocessing=split.preprocessing,
    )
