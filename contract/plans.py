"""What the server tells of a submission before anything runs."""

from typing import Literal

from pydantic import Field

from contract.base import Lenient

PlannedState = Literal["new", "under-way", "taken-over"]


class PlannedSearch(Lenient):
    """A node of the prefix tree before anything runs."""

    name: str
    phase: int
    depth: int = Field(description="stages in its prefix")
    stage: str = Field(description="the layers it trains, in the paper's notation")
    parent: str | None
    used_by: list[str] = Field(description="variants standing on it, e.g. 'CNN 6 partial'")
    epochs: int
    trials: int = Field(
        description="at most, done or not: with a second round, or as many as a search that spends seconds may have"
    )
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    parameters: int = Field(description="weights and biases of the stage with its head")
    multiply_adds: int = Field(
        description="per image: forward, and twice that backward, of the trained layers and head"
    )
    state: PlannedState = Field(
        "new", description="of an identical search: none is there, another experiment is at it, or it has ended"
    )
    least_trials: int = Field(0, description="of the trials, those that are certain")


class Plan(Lenient):
    """Dry run of a submission: the work that is left to do, by whichever experiment."""

    name: str
    variants: list[str]
    searches: list[PlannedSearch]
    stage_trainings_without_sharing: int
    trials: int = Field(description="at most, over all searches")
    fits: int = Field(description="with other seeds, of what the searches choose")
    evaluations: int
    multiply_adds: int = Field(description="of all trainings together, at most")
    estimated_seconds: float | None = Field(
        description="of what is not there yet, second rounds apart: from finished trainings of the data set, on the "
        "slots now connected; null where they tell nothing"
    )
    least_trials: int = Field(0, description="of the trials, those that are certain")
    range_tests: int = 0
    confirmations: int = Field(0, description="at most")
    most_seconds: float | None = Field(None, description="estimated_seconds if every stage needs its second round")
    notes: list[str] = Field([], description="sentences for people on what the submission may not have meant")
