"""What Optuna's own tables are to show of our searches: the projection's input, one study a search."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from service.domain.space import Point, Space
from service.domain.states import TrialOrigin, TrialState


class StudyRefused(Exception):
    """Optuna's tables do not take a study as it is, however often it is tried."""


@dataclass(frozen=True, slots=True)
class ProjectedTrial:
    """A trial as Optuna shall have it; ``id`` is ours and finds it again.

    ``value`` is the validation accuracy that enters the model: the last one of a pruned trial, chance of a diverged
    one, None without any. ``reports`` are (step, validation accuracy). ``chance`` counts how often a failed trial was
    tried anew: each has a picture of its own, since Optuna lets nobody take up a finished trial.
    """

    id: str
    ordinal: int
    point: Point
    origin: TrialOrigin
    state: TrialState
    value: float | None
    reports: tuple[tuple[int, float], ...]
    diverged: bool
    suggested_at: datetime
    finished_at: datetime | None
    chance: int = 0


@dataclass(frozen=True, slots=True)
class ProjectedStudy:
    """A search as an Optuna study: maximise the validation accuracy in ``space``, which holds all of its points.

    Trials keep the space in which they were first shown, so that a wider one needs no change to those before it.
    """

    name: str
    space: Space
    trials: tuple[ProjectedTrial, ...]
    user_attrs: Mapping[str, str] = field(default_factory=dict)
