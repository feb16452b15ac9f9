"""A submission: what a user writes in YAML or JSON to start an experiment.

The notation inside ``architectures`` is checked by the server alone; here only its outer form is.
"""

from collections import Counter
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from contract.base import REAL, WHOLE, Flag, Name, NonNegativeFloat, PositiveFloat, PositiveInt, Strict

MAX_BYTES = 1024**2
"""A submission longer than this is refused."""

StageNotation = Annotated[str, StringConstraints(strip_whitespace=True, max_length=10_000)]


def _with_unit(pattern: str) -> BeforeValidator:
    """Refuses a bare number as it refuses text of another form, so that the answer says how to write it."""

    def check(value: object) -> object:
        if value is not None and not isinstance(value, str):
            raise PydanticKnownError("string_pattern_mismatch", {"pattern": pattern})
        return value

    return BeforeValidator(check)


def _listed(value: object) -> object:
    if isinstance(value, list | tuple):
        return value
    meant = " ".join(value.split()) if isinstance(value, str) else ""
    example = meant if 0 < len(meant) <= 80 else "Conv-3-8 Pool-2"
    raise PydanticCustomError("stages_type", "must be a list of stages: write [{example}]", {"example": example})


SIZE = r"^[0-9]{1,15}(\.[0-9]{1,15})? *(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)$"
DURATION = r"^[0-9]{1,15}(\.[0-9]{1,15})? *(s|m|h|d)$"
Size = Annotated[str, StringConstraints(strip_whitespace=True, pattern=SIZE), _with_unit(SIZE)]
Duration = Annotated[str, StringConstraints(strip_whitespace=True, pattern=DURATION), _with_unit(DURATION)]
Stages = Annotated[list[StageNotation], Field(min_length=1, max_length=1_000), BeforeValidator(_listed)]
AxisName = Annotated[str, StringConstraints(pattern=r"^(learning_rate|regularization)_(factor|[0-9]{1,4})$")]
Learning = Literal["total", "partial"]
Sampler = Literal["auto", "gp", "tpe", "cmaes", "sobol", "random", "random-exponential"]
Scheme = Literal["per-stage", "per-layer", "geometric"]
Pruner = Literal["none", "median", "asha", "hyperband"]
BudgetRule = Literal["epochs", "passes", "seconds"]
Start = Literal["incumbents", "initial"]
SearchSeeds = Literal["first", "each"]
Head = Literal["linear", "pooled-linear", "mlp", "conv1", "conv2"]
Objective = Literal["classification", "reconstruction", "contrastive"]
FeatureMode = Literal["cached", "recomputed"]
Schedule = Literal["constant", "cosine"]


class DatasetChoice(Strict):
    """A data set by name with its split; the split is fixed, seeds do not move it."""

    name: Name
    train: PositiveInt | None = Field(
        None, description="training images, taken from the front; default: all that validation leaves"
    )
    validation: PositiveInt | None = Field(
        None, description="validation images, taken from the end of the training set; default: a tenth of it"
    )
    preprocessing: Literal["standardize", "mean-image", "none"] = Field(
        "standardize", description="mean-image: pixels 0 to 255 minus the mean image and not divided, as the paper does"
    )


class VariantChoice(Strict):
    """One line of the report: an architecture under one kind of learning."""

    architecture: Name
    learning: Learning
    budget: BudgetRule = Field(
        "epochs",
        description="of total learning, against the partial variant of the same architecture: the same epochs as every "
        "stage; as many passes over the images as all stages together; or as many measured search seconds",
    )
    checkpointing: Flag = Field(
        False, description="total learning that keeps activations at the cuts only and computes the rest again"
    )
    normalize_cuts: Flag = Field(
        False, description="total learning with the normalisation at the cuts that partial learning's inputs have"
    )


class PhaseChoice(Strict):
    """A budget: epochs of every training and trials of every stage search."""

    epochs: Annotated[int, Field(ge=1, le=10_000), WHOLE] = 1
    trials: Annotated[int, Field(ge=1, le=10_000), WHOLE] = 11
    start: Start = Field(
        "incumbents",
        description="what a search tries first: the incumbent of the phase before, or what the first phase tried first",
    )


class Range(Strict):
    """An interval searched on a log scale."""

    low: PositiveFloat
    high: PositiveFloat

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


class SpaceChoice(Strict):
    """The search space of a stage; all axes are logarithmic."""

    learning_rate: Range = Range(low=1e-4, high=0.2)
    regularization: Range = Range(low=1e-6, high=0.1)
    learning_rate_factor: Range | None = Field(
        None, description="scheme geometric: from one layer to the next; default: 0.25..4"
    )
    regularization_factor: Range | None = Field(
        None, description="scheme geometric: from one layer to the next; default: 0.1..10"
    )


class Point(Strict):
    """Hyperparameters of a stage. A regularization r is the weight decay r on weights, not biases.

    ``more`` is empty in the scheme per-stage. In the scheme geometric it holds ``learning_rate_factor`` and
    ``regularization_factor``: the base times the factor once for every convolution before it, and for the head. In the
    scheme per-layer ``learning_rate_2`` is that of the second convolution, and the base belongs to the head.
    """

    learning_rate: PositiveFloat
    regularization: PositiveFloat
    more: Annotated[dict[AxisName, PositiveFloat], Field(max_length=2_000)] = {}

    @field_validator("more", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        # The server keeps axes as pairs, in their order.
        return dict(value) if isinstance(value, tuple) else value


class SearchChoice(Strict):
    """How hyperparameters are searched, per stage."""

    sampler: Sampler = "auto"
    space: SpaceChoice | None = Field(
        None, description="default: 1e-4..0.2 and 1e-6..0.1; for random-exponential a wide space of its own"
    )
    enqueue: Annotated[list[Point], Field(max_length=100)] = []
    initial: Point | None = Field(
        None,
        description="where random-exponential starts, by default at 1e-4 and 1: every trial is initial x 10^N(0,1) "
        "(paper, section 4.2)",
    )
    scheme: Scheme = Field(
        "per-stage", description="one learning rate and regularization a stage, of every layer, or base x factor^layer"
    )
    pruner: Pruner = Field("none", description="ends trials that fall behind; start points and incumbents never")
    range_test: Flag = Field(
        False,
        description="find the learning rate at which a stage diverges or collapses and stay below (Smith 2017)",
    )
    second_round: Annotated[int, Field(ge=0, le=10_000), WHOLE] = Field(
        0, description="further trials, in a space a decade wider, for a stage below the accuracy of its prefix"
    )
    confirm_seeds: Annotated[int, Field(ge=0, le=20), WHOLE] = Field(
        0, description="train the two best trials with so many other seeds, and freeze the better mean"
    )
    seeds: SearchSeeds = Field("first", description="search on the first seed and fit on the others, or search on each")


class TrainingChoice(Strict):
    """The recipe every training of the experiment follows."""

    batch_size: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] = 50
    optimizer: Literal["sgd"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1), REAL] = 0.9
    schedule: Schedule = Field(
        "cosine", description="of the learning rate: down to zero over the epochs of a training; constant: as the paper"
    )
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    initialization: Literal["he", "torch"] = Field(
        "torch", description="torch: PyTorch's own; he: wider (He et al. 2015)"
    )
    head: Head = Field("linear", description="linear: fully connected, as the paper; the rest after Belilovsky et al.")
    objective: Objective = Field(
        "classification", description="of all stages but the last; the head is then trained on detached features"
    )
    features: FeatureMode = Field(
        "cached", description="recomputed: the prefix runs again for every batch, and its time counts, as in the paper"
    )
    standardize_inputs: Flag = Field(
        True, description="standardise the inputs of every stage after the first from the frozen features' statistics"
    )


class LimitsChoice(Strict):
    """Bounds of one training; beyond them it ends with a typed failure."""

    memory: Size | None = None
    time: Duration | None = None


class Submission(Strict):
    """An experiment as submitted. Everything but name, dataset and architectures has a default."""

    name: Name
    dataset: DatasetChoice
    architectures: Annotated[
        dict[Name, Stages],
        Field(min_length=1, max_length=1_000),
    ]
    variants: Annotated[list[VariantChoice], Field(min_length=1, max_length=2_000)] | None = Field(
        None, description="default: both learnings of every architecture with several stages, total for the others"
    )
    phases: Annotated[list[PhaseChoice], Field(min_length=1, max_length=100)] = [PhaseChoice(epochs=1, trials=11)]
    search: SearchChoice = SearchChoice()
    training: TrainingChoice = TrainingChoice()
    seeds: Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1), WHOLE]], Field(min_length=1, max_length=100)] = [0]
    limits: LimitsChoice = LimitsChoice()
    priority: Annotated[int, Field(ge=-1000, le=1000), WHOLE] = 0
    reuse: Flag = Field(
        True, description="take over finished stage searches that are the same in everything that determines them"
    )

    @field_validator("name", "dataset", "architectures", "phases", "seeds", mode="before")
    @classmethod
    def _no_nulls(cls, value: object) -> object:
        # `seeds:` with nothing behind it is null in YAML; a clear error beats a default that was not asked for.
        if value is None:
            raise ValueError("is empty: give it a value or leave the key out")
        return value

    @field_validator("architectures", mode="before")
    @classmethod
    def _no_names_that_merge(cls, value: object) -> object:
        # Names lose the blanks around them; of two that are the same then, one would silently replace the other.
        if isinstance(value, dict):
            for name, count in Counter(name.strip() for name in value if isinstance(name, str)).items():
                if count > 1:
                    raise ValueError(f"{name[:80]!r} stands there {count} times, but for blanks around it: rename one")
        return value


def submission_schema() -> dict[str, object]:
    """The JSON Schema of a submission, for editors (published at /v1/schemas/submission)."""
    schema = Submission.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


__all__ = [
    "AxisName",
    "BudgetRule",
    "DatasetChoice",
    "Duration",
    "FeatureMode",
    "Head",
    "Learning",
    "LimitsChoice",
    "NonNegativeFloat",
    "Objective",
    "PhaseChoice",
    "Point",
    "Pruner",
    "Range",
    "Sampler",
    "Schedule",
    "Scheme",
    "SearchChoice",
    "SearchSeeds",
    "Size",
    "SpaceChoice",
    "Start",
    "Submission",
    "TrainingChoice",
    "VariantChoice",
    "submission_schema",
]
