"""Under which conditions a report's figures were made, in words: recipe and limits of trainings, search and budgets."""

from collections.abc import Iterator

from service.domain.experiment import ExperimentSpec, Limits, Recipe, SearchSettings
from service.domain.quantities import mebibytes
from service.domain.space import Interval
from service.domain.states import Learning, Objective, Pruner, Sampler, Schedule, Scheme

INITIALIZATIONS = {"he": "He's", "torch": "PyTorch's own"}
SCHEMES = {
    Scheme.PER_STAGE: "a pair for every stage",
    Scheme.PER_LAYER: "a pair for every layer",
    Scheme.GEOMETRIC: "a pair for every stage and factors from layer to layer",
}
START = {True: ", from the incumbents of the phase before", False: ", from the initial points again"}
"""Of a later phase, by whether it is from incumbents."""


def conditions(spec: ExperimentSpec) -> tuple[str, ...]:
    """A line on training and one on the search, complete: what was left to the defaults is in them as well.

    Seeds and the split have their places elsewhere in a report, and budgets lines of their own.
    """
    partial = any(variant.learning is Learning.PARTIAL for variant in spec.variants)
    every = len(spec.seeds) > 1 and spec.search.every_seed
    seeds = "" if len(spec.seeds) == 1 else f", on {'each' if every else 'the first'} of {len(spec.seeds)} seeds"
    return (
        f"training: {', '.join([*_recipe(spec.recipe, partial=partial), _limits(spec.limits)])}",
        f"search: {', '.join(_search(spec.search))}{seeds}",
    )


def budgets(spec: ExperimentSpec) -> tuple[str, ...]:
    """A line on each phase: what a stage gets, and where a later one starts."""
    return tuple(
        f"{f'phase {number}' if len(spec.phases) > 1 else 'budget'}: {_count(phase.epochs, 'epoch')} and "
        f"{_count(phase.trials, 'trial')} a stage{START[phase.from_incumbents] if number > 1 else ''}"
        for number, phase in enumerate(spec.phases, start=1)
    )


def _recipe(recipe: Recipe, *, partial: bool) -> Iterator[str]:
    """``partial``: there are stages after others, which some of a recipe is about."""
    yield f"batches of {recipe.batch_size}"
    momentum = f"with momentum {recipe.momentum:g}" if recipe.momentum else "without momentum"
    yield f"{recipe.optimizer.upper()} {momentum}"
    yield "constant learning rate" if recipe.schedule is Schedule.CONSTANT else f"{recipe.schedule} schedule"
    yield f"{INITIALIZATIONS[recipe.initialization]} initialisation"
    yield f"{recipe.head} heads"
    if partial:
        yield (
            "classification in every stage"
            if recipe.objective is Objective.CLASSIFICATION
            else f"{recipe.objective} before the last stage"
        )
        yield f"stage inputs {'standardised' if recipe.standardize_inputs else 'as they are'}"
        yield f"features {'cached' if recipe.cached_features else 'recomputed for every batch'}"
    yield f"precision {recipe.precision}"


def _limits(limits: Limits) -> str:
    bounds = [
        mebibytes(limits.memory) if limits.memory is not None else "",
        f"{limits.time:,.0f} s" if limits.time is not None else "",
    ]
    told = " and ".join(filter(None, bounds))
    return f"at most {told} a training" if told else "no limits"


def _search(search: SearchSettings) -> Iterator[str]:
    yield f"sampler {search.sampler}"
    if search.sampler is Sampler.RANDOM_EXPONENTIAL:
        start = search.initial
        yield f"from learning rate {_number(start.learning_rate)} and regularization {_number(start.regularization)}"
    else:
        space = search.space
        yield f"learning rate {_between(space.learning_rate)}"
        yield f"regularization {_between(space.regularization)}"
    yield SCHEMES[search.scheme]
    if search.scheme is Scheme.GEOMETRIC:
        yield f"of learning rate {_between(search.learning_rate_factor)}"
        yield f"of regularization {_between(search.regularization_factor)}"
    if search.enqueue:
        yield f"{_count(len(search.enqueue), 'hand-picked point')} first"
    yield f"pruner {search.pruner}" if search.pruner is not Pruner.NONE else "no pruner"
    yield "range tests" if search.range_test else "no range tests"
    yield f"second rounds of {_count(search.second_round, 'trial')}" if search.second_round else "no second rounds"
    yield f"confirmation with {_count(search.confirm_seeds, 'seed')}" if search.confirm_seeds else "no confirmation"


def _between(interval: Interval) -> str:
    return f"{_number(interval.low)} to {_number(interval.high)}"


def _number(value: float) -> str:
    """`0.2`, `1e-6`."""
    return f"{value:g}".replace("e-0", "e-")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
