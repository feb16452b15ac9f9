"""What makes two stage searches the same: a SHA-256 over everything that determines one (DESIGN 15)."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from uuid import UUID

from service.domain.experiment import ExperimentSpec, Phase, Recipe
from service.domain.layers import Stage
from service.domain.states import Objective, Sampler, Schedule, Scheme
from service.domain.statistics import NOISE_ERRORS

# Raise it whenever the same specification may train to something else than before: nothing older is reused then.
TRAINING_VERSION = 2
# The same for what a range test makes of a space, which concerns the searches that have one alone.
RANGE_TEST_VERSION = 3
# And for who gets a second round, beside what is taken for noise.
SECOND_ROUND_VERSION = 2
# And for searches that draw the points of another: they once drew their own.
DRAWS_VERSION = 1
VALUE = "validation-accuracy"
FIRST_CONFIRMATION_SEED = 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a search stands in its experiment.

    ``parent`` decides the last stage of its prefix, ``earlier`` is the same stage's search of the phase before;
    ``matches`` are the searches of the Partial variant whose seconds it may spend. All by key.
    """

    phase: Phase
    stage: Stage
    seed: int
    parent: str | None = None
    earlier: str | None = None
    objective: Objective = Objective.CLASSIFICATION
    segments: tuple[int, ...] = ()
    matches: tuple[str, ...] = ()

    @property
    def follows_draws(self) -> bool:
        """Whether it tries the points of the same search without checkpoints and without seconds to spend."""
        return bool(self.segments or self.matches)


def search_key(spec: ExperimentSpec, place: Place, salt: str | None = None) -> str:
    """The identity of the search at a place.

    Names do not count, nor how a network was cut into the same stage: Total is a search without a parent. The prefix
    counts through its own key. A ``salt`` keeps a search for itself.
    """
    settings = spec.search
    draws = {"draws": DRAWS_VERSION} if place.follows_draws else {}
    exponential, geometric = settings.sampler is Sampler.RANDOM_EXPONENTIAL, settings.scheme is Scheme.GEOMETRIC
    factors = (settings.learning_rate_factor, settings.regularization_factor)
    return digest(
        {
            "version": TRAINING_VERSION,
            "value": VALUE,
            "parent": place.parent,
            "earlier": place.earlier,
            "stage": asdict(place.stage),
            "dataset": {"digest": spec.dataset.digest, "classes": spec.dataset.classes},
            "split": asdict(spec.split),
            "recipe": _recipe(replace(spec.recipe, objective=place.objective)),
            "segments": place.segments,
            "budget": {"epochs": place.phase.epochs, "trials": place.phase.trials, "matches": place.matches},
            "sampler": str(settings.sampler),
            "space": asdict(settings.space),
            "scheme": str(settings.scheme),
            "factors": [asdict(factor) for factor in factors] if geometric else None,
            "pruner": str(settings.pruner),
            "range test": settings.range_test and RANGE_TEST_VERSION,
            "second round": (settings.second_round, NOISE_ERRORS, SECOND_ROUND_VERSION) if settings.second_round else 0,
            "confirmation": confirmation_seeds(spec),
            "enqueue": [asdict(point) for point in settings.enqueue],
            "initial": asdict(settings.initial) if exponential else None,
            "seed": place.seed,
            "limits": asdict(spec.limits),
            "salt": salt,
        }
        | draws
    )


def key_apart(key: str, stands_on: Iterable[UUID | None]) -> str:
    """The identity of a search whose ``key`` belongs to one that stands on other searches, told apart by its own."""
    return digest({"key": key, "stands on": [None if link is None else str(link) for link in stands_on]})


def confirmation_seeds(spec: ExperimentSpec) -> tuple[int, ...]:
    """The seeds that confirm the best trials: none of those that are reported, which would be chosen by themselves."""
    numbers = range(FIRST_CONFIRMATION_SEED, FIRST_CONFIRMATION_SEED + spec.search.confirm_seeds + len(spec.seeds))
    return tuple(number for number in numbers if number not in spec.seeds)[: spec.search.confirm_seeds]


def _recipe(recipe: Recipe) -> dict[str, object]:
    document = asdict(recipe)
    if recipe.schedule is Schedule.CONSTANT:
        # Searches from before there were schedules are the same as those that have none.
        del document["schedule"]
    return document


def digest(document: dict[str, object]) -> str:
    """SHA-256 of the document's canonical JSON, in hex."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
