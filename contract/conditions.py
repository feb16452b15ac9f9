"""Under which conditions a report's figures were made: the recipe of its trainings and how stages were searched."""

from pydantic import ConfigDict

from contract.base import Lenient
from contract.submission import Point, Pruner, Range, Sampler, Scheme
from contract.tasks import Recipe


class ReportRecipe(Recipe):
    """The recipe of all trainings, as an answer: a newer server may add fields."""

    model_config = ConfigDict(extra="ignore")


class ReportSpace(Lenient):
    """The intervals that were searched on a log scale."""

    learning_rate: Range
    regularization: Range


class ReportSearch(Lenient):
    """How every stage was searched; a submission says what each of these does."""

    sampler: Sampler
    space: ReportSpace
    enqueue: list[Point]
    initial: Point
    scheme: Scheme
    pruner: Pruner
    range_test: bool
    second_round: int
    confirm_seeds: int
    every_seed: bool
    learning_rate_factor: Range
    regularization_factor: Range
