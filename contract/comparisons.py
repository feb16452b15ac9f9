"""What a report says of two variants beside each other."""

from typing import Literal

from pydantic import Field

from contract.base import Lenient
from contract.submission import BudgetRule


class Difference(Lenient):
    """One variant minus another in percentage points, over the seeds that both have.

    Of the methods ``crossed`` and ``crossed-images`` the bounds are 95 %: over seeds and images, both paired, or with
    one seed over the images alone. They need to know which images every network classified rightly. Otherwise the
    bounds are at least 95 %, the wider of two intervals: ``paired``, Student t of the differences over the seeds, and
    ``images``, that of the number of images, which is the only one with one seed.
    """

    points: float
    low: float
    high: float
    standard_error: float
    p_value: float = Field(description="of no difference, two-sided")
    seeds: int
    method: Literal["crossed", "crossed-images", "paired", "images"] = Field(description="what the bounds rest on")
    values: list[float] = Field(description="by seed")


class Effort(Lenient):
    """What was put into one side of a comparison."""

    trials: int = Field(description="in all, over stages and searched seeds")
    second_round_trials: int = Field(0, description="of these, on top of the budget of the stages")
    passes: int = Field(description="over the training images, in one training of all its stages")


class Ratio(Lenient):
    """One variant over another, the geometric mean over the seeds that both have.

    The bounds are a 95 % Student t interval of the logarithms, null with one seed.
    """

    ratio: float
    low: float | None
    high: float | None
    values: list[float] = Field(description="by seed")


class Costs(Lenient):
    """The first of two variants over the second; null where it cannot be known."""

    seconds: Ratio | None = Field(description="training time, over the seeds")
    memory: float | None = Field(
        description="training memory, on the first seed with a network, if both were measured in one way"
    )


class Gap(Lenient):
    """Total minus Partial of one network, under the budget rule of Total."""

    phase: int
    partial: str
    total: str
    validation_points: float = Field(description="percentage points")
    test_points: float | None
    standard_error_points: float = Field(description="of the difference, from the number of images alone, one seed")
    budget: BudgetRule = "epochs"
    checkpointing: bool = False
    normalize_cuts: bool = False
    validation: Difference | None = None
    test: Difference | None = None
    adjusted_p_value: float | None = Field(
        None,
        description="Holm over all comparisons of the report; of the test difference, before there is one of "
        "validation",
    )
    verdict: Literal["total better", "partial better", "within noise"] = "within noise"
    sentence: str = ""
    total_effort: Effort | None = None
    partial_effort: Effort | None = None
    costs: Costs | None = Field(None, description="Total over Partial")


class Lead(Lenient):
    """A variant minus the baseline, Total of the first architecture; or minus the best Total that fits into memory.

    Where the two are Total and Partial of one network, that is a gap already, and no lead as well.
    """

    phase: int
    variant: str
    against: str
    validation: Difference
    test: Difference | None
    adjusted_p_value: float = Field(description="as in a gap")
    verdict: Literal["better", "worse", "within noise"]
    sentence: str
    variant_effort: Effort | None = None
    against_effort: Effort | None = None
    costs: Costs | None = Field(None, description="the variant over the one it is measured against")
