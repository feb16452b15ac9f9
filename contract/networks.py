"""Finished networks: a variant on one seed, its t-SNE embeddings, and everything that an export needs."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from contract.base import WHOLE, Digest, Flag, Lenient, Name, PositiveFloat, PositiveInt, Strict
from contract.submission import BudgetRule, Learning, Point
from contract.tasks import DatasetUse, Recipe, StageShape

EmbeddingState = Literal["waiting", "running", "finished", "failed", "cancelled"]


class NetworkChoice(Strict):
    """A variant of an experiment on one seed."""

    architecture: Name
    learning: Learning
    budget: BudgetRule = "epochs"
    checkpointing: bool = False
    normalize_cuts: bool = False
    phase: Annotated[int, Field(ge=0, le=99)] | None = Field(None, description="from 0; default: the last")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(None, description="default: the experiment's first")


class EmbeddingRequest(NetworkChoice):
    """A t-SNE of the features of every stage. The same request again gives the same embedding."""

    # In a query all values are text; in a body they have types.
    checkpointing: Flag = False
    normalize_cuts: Flag = False
    phase: Annotated[int, Field(ge=0, le=99), WHOLE] | None = Field(None, description="from 0; default: the last")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), WHOLE] | None = Field(
        None, description="default: the experiment's first"
    )
    points: PositiveInt | None = Field(
        None, description="of the test set, as many of each class; default: 2000, or all that there are"
    )
    perplexity: PositiveFloat = 30.0


class EmbeddingStage(Lenient):
    """A stage of an embedding; the figures are there once it is finished, the coordinates only where one is shown."""

    stage: str = Field(description="the layers, in the paper's notation")
    dimensions: int | None = Field(None, description="of the features")
    components: int | None = Field(None, description="that PCA kept of them")
    seconds: float | None = None
    coordinates: list[tuple[float, float]] = Field([], description="of each point")


class Embedding(Lenient):
    """An embedding and how far it is. Points have the same order in labels, images and the stages' coordinates."""

    id: UUID
    variants: list[str] = Field(description="labels of the variants that are this network")
    phase: int
    seed: int
    points: int
    perplexity: float
    state: EmbeddingState
    created_at: datetime
    stages: list[EmbeddingStage]
    seconds: float | None = Field(None, description="wall time on the worker")
    failure: str | None = None
    labels: list[int] = Field([], description="class of each point")
    class_names: list[str] = Field([], description="by class; empty where the data set names none")
    images: list[int] = Field([], description="number of each point's image in the test set")


class NetworkStage(Lenient):
    """A trained stage of a network."""

    notation: str
    stage: StageShape
    checkpoint: Digest = Field(description="a safetensors file at /v1/artifacts/")
    hyperparameters: Point
    epochs: int
    validation_accuracy: float
    training_accuracy: float
    training_seconds: float
    feature_seconds: float
    memory_bytes: int


class Network(Lenient):
    """A finished variant on one seed: everything needed to build it again, and what is known of it."""

    experiment: UUID
    name: str = Field(description="of the experiment")
    variant: str
    learning: Learning
    phase: int
    seed: int
    dataset: DatasetUse
    shape: tuple[int, int, int] = Field(description="of an image: channels, height, width")
    recipe: Recipe
    stages: list[NetworkStage]
    test_accuracy: float | None
    test_precision: str | None = Field(None, description="float32 or bfloat16: what the test was computed in")
    test_images: int
