"""The worker protocol: registration, leases, heartbeats, results, failures (docs/worker-protocol.md)."""

from base64 import b64decode, b64encode
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from contract.base import (
    REAL,
    WHOLE,
    Count,
    Digest,
    Fraction,
    Lenient,
    Name,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Seconds,
    Strict,
)
from contract.submission import Head, Objective, Point, Schedule

TaskKind = Literal["trial", "fit", "range-test", "embed", "evaluate"]
Command = Literal["continue", "prune", "pause", "cancel", "drain"]
WorkerReason = Literal["out-of-memory", "memory-limit", "user-error", "preempted", "cancelled", "crashed", "time-limit"]
FeaturePlace = Literal["memory", "disk", "recomputed"]
FailureReason = Literal[WorkerReason, "lost", "outage"]
"""The last two are the server's to find: nobody sends them."""
Note = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]
Notes = Annotated[dict[Name, Note], Field(max_length=100)]
MOST_MARKED = 1_000_000
"""Of a larger test set nobody says which images were classified rightly."""
Marks = Annotated[
    str, StringConstraints(max_length=(MOST_MARKED + 7) // 8 * 4 // 3 + 4, pattern=r"^[A-Za-z0-9+/]*={0,2}$")
]
Text = Annotated[str, StringConstraints(max_length=64_000, pattern=r"^[^\x00]*$")]


class HeldDataset(Strict):
    """A data set that a worker has on its machine, named by content."""

    name: Name
    digest: Digest
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(description="channels, height, width")
    classes: PositiveInt
    train: PositiveInt
    test: PositiveInt


class WorkerRegistration(Strict):
    """What a worker says of itself at start; repeated after a reconnect, it changes nothing."""

    name: Name
    device: Name = Field(description="cpu, cuda:0, mps ...")
    slots: Annotated[int, Field(ge=1, le=256), WHOLE] = 1
    info: Notes = Field({}, description="host, versions, device name")
    datasets: Annotated[list[HeldDataset], Field(max_length=1_000)] = []


class RegisteredWorker(Lenient):
    """The server's timing for this worker."""

    id: UUID
    heartbeat_seconds: float
    lease_seconds: float


class LeaseRequest(Strict):
    """Ask for one task. Repeating a request id gives the same lease while it is held."""

    worker: UUID
    request_id: UUID
    wait_seconds: Annotated[float, Field(ge=0, le=30), REAL] = 0


class ConvLayer(Strict):
    """n x n convolution with m filters, same padding, ReLU."""

    kind: Literal["conv"] = "conv"
    size: PositiveInt
    filters: PositiveInt


class PoolLayer(Strict):
    """n x n max pooling with stride n."""

    kind: Literal["pool"] = "pool"
    size: PositiveInt


Layer = Annotated[ConvLayer | PoolLayer, Field(discriminator="kind")]
Shape = tuple[PositiveInt, PositiveInt, PositiveInt]


class StageShape(Strict):
    """Layers trained together, with the shapes (channels, height, width) that go in and come out."""

    layers: Annotated[list[Layer], Field(min_length=1)]
    input_shape: Shape
    output_shape: Shape
    norms: list[Count] = Field([], description="layers whose inputs are normalised inside the network, by number")


class PrefixStage(Strict):
    """A frozen stage: its layers and the checkpoint that holds its weights."""

    stage: StageShape
    checkpoint: Digest


class DatasetUse(Strict):
    """Which data set, by content, and which split and preprocessing of it."""

    name: Name
    digest: Digest
    classes: PositiveInt
    train: PositiveInt
    validation: PositiveInt
    preprocessing: Literal["standardize", "mean-image", "none"]


class Recipe(Strict):
    """Everything about a training that is neither searched nor a budget."""

    batch_size: PositiveInt
    optimizer: Literal["sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1), REAL]
    precision: Literal["auto", "float32", "bfloat16"]
    initialization: Literal["he", "torch"]
    head: Head
    standardize_inputs: bool
    objective: Objective = Field("classification", description="else the head is trained on detached features")
    cached_features: bool = Field(True, description="else the prefix runs for every batch, and its time counts")
    schedule: Schedule = Field("constant", description="cosine: the learning rate falls to zero over the epochs")


class WorkRecipe(Recipe):
    """The recipe as a worker gets it: those from before there were schedules take every task that has none."""

    schedule: Schedule = Field(
        "constant", description="left out if constant", exclude_if=lambda schedule: schedule == "constant"
    )


class EmbeddingUse(Strict):
    """How many points of the test set a t-SNE shows, and at what perplexity."""

    points: PositiveInt
    perplexity: PositiveFloat


class TaskWork(Lenient):
    """What to do. ``evaluate`` and ``embed`` have the ``checkpoint`` of their last stage, the others none.

    Trial and fit have ``hyperparameters``; a range test has the regularization of its hyperparameters and its own
    ``learning_rates``, each of them for ``rate_steps``.
    """

    dataset: DatasetUse
    prefix: list[PrefixStage]
    stage: StageShape
    recipe: WorkRecipe
    epochs: int
    seed: int
    hyperparameters: Point | None = None
    checkpoint: Digest | None = None
    memory_limit: int | None = Field(None, description="bytes")
    time_limit: float | None = Field(None, description="seconds")
    segments: list[Count] = Field([], description="layers at which gradient checkpointing keeps activations, by number")
    pruned: bool = Field(False, description="the server may end the trial early: send measurements as they are made")
    learning_rates: list[PositiveFloat] = Field([], description="what a range test tries, rising")
    rate_steps: Count = Field(0, description="so many steps at each of them, or as many as the training has")
    embedding: EmbeddingUse | None = None


class Snapshot(Strict):
    """A training in the middle: an uploaded artifact, and how much of the training is done in it."""

    sha256: Digest
    fraction: Fraction


class Lease(Lenient):
    """A task held by a worker until ``expires_at`` unless renewed; ``attempt`` is the fencing token."""

    task: UUID
    attempt: int
    kind: TaskKind
    label: str = Field(description="for people: search and trial")
    expires_at: datetime
    lease_seconds: float
    work: TaskWork
    snapshot: Snapshot | None = Field(None, description="where an earlier attempt got to")


class Measurement(Strict):
    """One intermediate measurement; repeated steps overwrite."""

    step: Annotated[int, Field(ge=0, le=2**31 - 1, description="optimiser steps done"), WHOLE]
    epoch: NonNegativeFloat = Field(description="epochs done, fractions included")
    validation_accuracy: Fraction
    loss: NonNegativeFloat | None = None


class Heartbeat(Strict):
    """Renews the lease and carries measurements since the last one."""

    reports: Annotated[list[Measurement], Field(max_length=10_000)] = []
    fraction: Fraction | None = Field(None, description="of the training done")


class HeartbeatAnswer(Lenient):
    """What the worker is to do next."""

    command: Command
    expires_at: datetime


class Memory(Strict):
    """Training memory in bytes: measured by a named method, the analytic figure beside it, resident data apart."""

    peak_bytes: Count
    method: Annotated[str, StringConstraints(max_length=100)]
    analytic_bytes: Count
    resident_bytes: Count
    activation_bytes: Count = Field(0, description="the activations' share of the analytic figure")


class TrainingOutcome(Strict):
    """What a trial or a fit brings back."""

    outcome: Literal["complete", "pruned", "diverged"]
    validation_accuracy: Fraction
    training_accuracy: Fraction
    checkpoint: Digest | None = Field(None, description="the uploaded stage checkpoint; required when complete")
    epochs: NonNegativeFloat
    training_seconds: Seconds
    feature_seconds: Seconds = Field(description="producing the stage's input features once, charged in full")
    evaluation_seconds: Seconds
    total_seconds: Seconds = Field(description="wall time of the attempt, everything included")
    memory: Memory
    curve: Annotated[list[Measurement], Field(max_length=100_000)] = []
    features: FeaturePlace | None = Field(
        None, description="where the frozen features that it read were kept; recomputed: made again for every batch"
    )
    provenance: Notes = {}


class StageProbe(Strict):
    """How well a stage's features tell the classes apart, on the test set."""

    head_accuracy: Fraction = Field(description="of the stage's own head")
    knn_accuracy: Fraction = Field(description="of the nearest neighbours among training images")


class EvaluationOutcome(Strict):
    """What an evaluation brings back."""

    outcome: Literal["evaluated"]
    test_accuracy: Fraction
    images: PositiveInt
    total_seconds: Seconds
    stages: Annotated[list[StageProbe], Field(max_length=1_000)] = Field([], description="first to last")
    right: Marks | None = Field(
        None,
        description="base64 of a bit for each test image, set where it was classified rightly, the first image being "
        "the lowest bit of the first byte; null where nobody says",
    )
    provenance: Notes = {}

    @field_validator("right")
    @classmethod
    def _right_as_often_as_told(cls, right: str | None, info: ValidationInfo) -> str | None:
        told = info.data
        if right is None or not {"images", "test_accuracy"} <= told.keys():
            return right
        try:
            packed = b64decode(right, validate=True)
        except ValueError:
            packed = b""
        if len(packed) != (told["images"] + 7) // 8 or b64encode(packed).decode() != right:
            raise ValueError(f"must be base64 of a bit for each of {told['images']} images")
        bits = int.from_bytes(packed, "little")
        if bits >> told["images"]:
            raise ValueError("has bits beyond the last image: leave them zero")
        if bits.bit_count() != round(told["test_accuracy"] * told["images"]):
            raise ValueError(f"has {bits.bit_count()} images, which is not the test_accuracy of {told['images']}")
        return right


class RangeOutcome(Strict):
    """What a learning-rate range test brings back: a training loss for each rate, null where that is too high."""

    outcome: Literal["ranged"]
    losses: Annotated[list[NonNegativeFloat | None], Field(min_length=1, max_length=1_000)]
    total_seconds: Seconds
    provenance: Notes = {}


class EmbeddedStage(Strict):
    """The t-SNE of a stage's features."""

    dimensions: PositiveInt = Field(description="of the features")
    components: PositiveInt = Field(description="that PCA kept of them")
    seconds: Seconds


class EmbeddingOutcome(Strict):
    """What an embedding brings back.

    ``checkpoint`` names the uploaded safetensors file: ``stage-1`` ... are float32 (points, 2), ``labels`` and
    ``images`` (numbers in the test set) float32 (points).
    """

    outcome: Literal["embedded"]
    checkpoint: Digest | None = None
    points: PositiveInt
    perplexity: Annotated[PositiveFloat, Field(le=1e9)]
    stages: Annotated[list[EmbeddedStage], Field(min_length=1, max_length=1_000)]
    class_names: Annotated[list[Note], Field(max_length=10_000)] = Field(
        [], description="by label; empty where the data set's classes have none"
    )
    total_seconds: Seconds
    provenance: Notes = {}


Outcome = Annotated[
    TrainingOutcome | EvaluationOutcome | RangeOutcome | EmbeddingOutcome, Field(discriminator="outcome")
]


class TaskResult(Strict):
    """The result of an attempt. Sending the same again is answered the same; another one is refused."""

    result: Outcome


class ResultAccepted(Lenient):
    """The result is stored; it will never be counted twice."""

    task: UUID
    attempt: int
    repeated: bool


class TaskFailure(Strict):
    """An attempt that ended without a result, told by the worker itself."""

    reason: WorkerReason
    message: Annotated[str, StringConstraints(max_length=2_000, pattern=r"^[^\x00]*$")]
    log: Text = ""
    seconds: Seconds = 0.0


class FailureAccepted(Lenient):
    """Whether the task will be tried again."""

    task: UUID
    attempt: int
    state: Literal["ready", "failed", "cancelled"]


class StoredArtifact(Lenient):
    """An artifact the server holds, named by its SHA-256."""

    sha256: Digest
    size: int
