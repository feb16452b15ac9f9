"""Studies to draw, and what Optuna has of them then."""

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta

import optuna

from service.domain.projection import ProjectedStudy, ProjectedTrial
from service.domain.space import DEFAULT_SPACE, Point
from service.domain.states import TrialOrigin, TrialState
from service.tuning.projection import StudyProjection, optuna_url

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def draw(projection: StudyProjection, study: ProjectedStudy) -> None:
    """Draw a study as it is given."""
    projection.sync(study.name, lambda: study)


def trial(
    ordinal: int, state: TrialState = TrialState.RUNNING, value: float | None = None, **fields: object
) -> ProjectedTrial:
    made = ProjectedTrial(
        id=str(uuid.uuid4()),
        ordinal=ordinal,
        point=Point(1e-3 * (ordinal + 1), 1e-4),
        origin=TrialOrigin.SOBOL,
        state=state,
        value=value,
        reports=(),
        diverged=False,
        suggested_at=NOW,
        finished_at=None if state is TrialState.RUNNING else NOW + timedelta(minutes=1),
    )
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def finish(running: ProjectedTrial, state: TrialState, value: float | None, **fields: object) -> ProjectedTrial:
    made = dataclasses.replace(running, state=state, value=value, finished_at=NOW + timedelta(minutes=1))
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def study(*trials: ProjectedTrial, **fields: object) -> ProjectedStudy:
    made = ProjectedStudy("stage 2 of CNN 6", DEFAULT_SPACE, trials, {"stage": "Conv-3-32 Pool-2", "epochs": "1"})
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def in_optuna(url: str) -> optuna.Study:
    """As anybody opens it, with nothing but the address and the name."""
    return optuna.load_study(study_name="stage 2 of CNN 6", storage=optuna_url(url))
