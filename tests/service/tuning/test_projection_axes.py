"""Searches of several axes, and of a second round in a wider space, as anybody sees them with Optuna."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import optuna
import pytest
from optuna.importance import get_param_importances
from optuna.search_space import intersection_search_space
from optuna.trial import FrozenTrial

from service.domain.projection import ProjectedStudy, ProjectedTrial
from service.domain.schemes import widen
from service.domain.space import DEFAULT_SPACE, Interval, Point, Space
from service.domain.states import TrialOrigin, TrialState
from service.tuning.distributions import distributions
from service.tuning.projection import StudyProjection, optuna_url
from tests.service.tuning.drawing import draw

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LAYERS = replace(
    DEFAULT_SPACE,
    more=(("learning_rate_1", DEFAULT_SPACE.learning_rate), ("regularization_1", DEFAULT_SPACE.regularization)),
)
FACTORS = replace(
    DEFAULT_SPACE,
    more=(("learning_rate_factor", Interval(0.25, 4)), ("regularization_factor", Interval(0.1, 10))),
)
NAME = "cifar10 1ep Conv-3-32 Pool-2"


def trial(ordinal: int, space: Space, value: float, share: float) -> ProjectedTrial:
    """A complete trial at a share of the way through every axis, each a little further than the one before."""
    axes = space.axes.items()
    values = {
        name: axis.low * (axis.high / axis.low) ** min(1.0, share + 0.01 * number)
        for number, (name, axis) in enumerate(axes)
    }
    return ProjectedTrial(
        id=str(uuid.uuid4()),
        ordinal=ordinal,
        point=Point.of(values),
        origin=TrialOrigin.SOBOL,
        state=TrialState.COMPLETE,
        value=value,
        reports=((100, value / 2), (200, value)),
        diverged=False,
        suggested_at=NOW,
        finished_at=NOW + timedelta(minutes=1),
    )


def in_optuna(url: str) -> optuna.Study:
    return optuna.load_study(study_name=NAME, storage=optuna_url(url))


def in_the_dashboard(projection: StudyProjection) -> list[FrozenTrial]:
    """What optuna-dashboard reads."""
    storage = projection.storage
    return storage.get_all_trials(storage.get_study_id_from_name(NAME))


@pytest.mark.parametrize("space", [LAYERS, FACTORS], ids=["per-layer", "geometric"])
def test_a_stranger_sees_every_axis(database_url: str, projection: StudyProjection, space: Space) -> None:
    rows = tuple(trial(ordinal, space, 0.5 + ordinal / 100, ordinal / 10) for ordinal in range(5))
    shown = ProjectedStudy(NAME, space, rows)

    draw(projection, shown)
    draw(projection, shown)

    loaded = in_optuna(database_url)
    assert projection.check(shown) == ()
    assert loaded.best_params == rows[-1].point.values
    assert [found.params for found in loaded.trials] == [row.point.values for row in rows]
    assert all(
        {name: (axis.low, axis.high) for name, axis in space.axes.items()}
        == {name: (axis.low, axis.high) for name, axis in found.distributions.items()}  # type: ignore[attr-defined]
        for found in loaded.trials
    )


@pytest.mark.parametrize("space", [DEFAULT_SPACE, LAYERS, FACTORS], ids=["per-stage", "per-layer", "geometric"])
def test_a_space_widened_in_a_second_round_is_shown_whole(
    database_url: str, projection: StudyProjection, space: Space
) -> None:
    wide = widen(space)
    first = tuple(trial(ordinal, space, 0.3 + ordinal / 100, ordinal / 10) for ordinal in range(4))
    draw(projection, ProjectedStudy(NAME, space, first))
    best = trial(5, wide, 0.7, 0.97)
    both = ProjectedStudy(NAME, wide, (*first, trial(4, wide, 0.2, 0.0), best))

    draw(projection, both)
    draw(projection, both)

    loaded = in_optuna(database_url)
    assert projection.check(both) == ()
    assert not space.holds(best.point)
    assert (loaded.best_value, loaded.best_params) == (0.7, best.point.values)
    assert [(found.value, found.params) for found in loaded.trials] == [
        (row.value, row.point.values) for row in both.trials
    ]
    assert in_the_dashboard(projection) == loaded.trials
    assert loaded.trials[0].intermediate_values == {100: 0.15, 200: 0.3}


def test_a_search_shown_in_its_widest_space_from_the_start_is_one_space_to_optuna(
    database_url: str, projection: StudyProjection
) -> None:
    wide = widen(LAYERS)
    first = tuple(trial(ordinal, LAYERS, 0.3 + ordinal / 100, ordinal / 10) for ordinal in range(4))
    second = tuple(trial(ordinal, wide, 0.5 + ordinal / 50, ordinal / 10) for ordinal in range(4, 9))

    draw(projection, ProjectedStudy(NAME, wide, first))
    draw(projection, ProjectedStudy(NAME, wide, (*first, *second)))

    loaded = in_optuna(database_url)
    assert intersection_search_space(loaded.trials) == distributions(wide)
    assert get_param_importances(loaded).keys() == wide.axes.keys()
