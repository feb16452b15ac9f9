from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from service.domain.experiment import ExperimentSpec, SearchSettings
from service.domain.layers import Conv, Pool, Stage
from service.domain.schemes import fill, shown_space, stage_space, widen
from service.domain.space import DEFAULT_SPACE, Interval, Point, Space
from service.domain.states import Scheme

STAGE = Stage((Conv(3, 32), Conv(1, 32), Pool(2)), (3, 32, 32), (32, 16, 16))
DEEPER = Stage((Conv(3, 32), Conv(3, 32), Conv(3, 32), Pool(2)), (3, 32, 32), (32, 16, 16))
POINT = Point(1e-2, 1e-3)
FACTORS = (("learning_rate_factor", Interval(0.5, 2)), ("regularization_factor", Interval(0.1, 10)))


@pytest.fixture
def settings(understand: Callable[..., ExperimentSpec]) -> Callable[..., SearchSettings]:
    return lambda scheme, **fields: replace(understand(search={"scheme": str(scheme)}).search, **fields)


def test_a_scheme_adds_the_axes_of_a_stages_layers(settings: Callable[..., SearchSettings]) -> None:
    def axes(scheme: Scheme, stage: Stage) -> list[str]:
        return list(stage_space(settings(scheme), stage).axes)

    pair = ["learning_rate", "regularization"]
    assert axes(Scheme.PER_STAGE, STAGE) == pair
    assert axes(Scheme.GEOMETRIC, STAGE) == [*pair, "learning_rate_factor", "regularization_factor"]
    assert axes(Scheme.PER_LAYER, STAGE) == [
        *pair, "learning_rate_1", "regularization_1", "learning_rate_2", "regularization_2"
    ]  # fmt: skip
    assert len(axes(Scheme.PER_LAYER, DEEPER)) == 8


def test_layers_are_searched_where_the_stage_is_and_factors_where_the_submission_says(
    settings: Callable[..., SearchSettings],
) -> None:
    narrow = Space(Interval(1e-3, 1e-1), Interval(1e-5, 1e-2))
    layers = stage_space(settings(Scheme.PER_LAYER, space=narrow), STAGE).axes
    factors = stage_space(settings(Scheme.GEOMETRIC, space=narrow, learning_rate_factor=Interval(0.5, 2)), STAGE)

    assert layers["learning_rate_2"] == narrow.learning_rate
    assert layers["regularization_1"] == narrow.regularization
    assert factors == replace(narrow, more=FACTORS)


@pytest.mark.parametrize("scheme", Scheme)
def test_a_start_point_is_the_same_for_every_layer(settings: Callable[..., SearchSettings], scheme: Scheme) -> None:
    space = stage_space(settings(scheme), STAGE)

    filled = fill(POINT, space.axes)

    assert space.holds(filled)
    assert {value for name, value in filled.values.items() if name.startswith("learning_rate")} <= {1e-2, 1.0}
    assert {value for name, value in filled.values.items() if name.startswith("regularization")} <= {1e-3, 1.0}
    assert all(value == 1.0 for name, value in filled.values.items() if name.endswith("factor"))
    assert fill(filled, space.axes) == filled


def test_an_incumbent_of_another_stage_keeps_the_layers_that_both_have(
    settings: Callable[..., SearchSettings],
) -> None:
    shallow, deep = (stage_space(settings(Scheme.PER_LAYER), stage) for stage in (STAGE, DEEPER))
    incumbent = Point.of({name: 1e-2 / (number + 1) for number, name in enumerate(deep.axes)})

    there = fill(incumbent, shallow.axes)
    back = fill(there, deep.axes)

    assert there.values == {name: incumbent.values[name] for name in shallow.axes}
    assert (back.values["learning_rate_3"], back.values["regularization_3"]) == (1e-2, 5e-3)
    assert [list(point.values) for point in (there, back)] == [list(shallow.axes), list(deep.axes)]


def test_a_second_round_moves_every_end_but_those_of_factors(settings: Callable[..., SearchSettings]) -> None:
    space = stage_space(settings(Scheme.GEOMETRIC), STAGE)

    wide = widen(space)

    assert (wide.learning_rate.low, wide.learning_rate.high) == pytest.approx((1e-5, 2.0))
    assert (wide.regularization.low, wide.regularization.high) == pytest.approx((1e-7, 1.0))
    assert wide.more == space.more
    layers = widen(stage_space(settings(Scheme.PER_LAYER), STAGE))
    assert layers.axes["learning_rate_2"] == layers.learning_rate


def test_optuna_is_shown_one_space_that_holds_both_rounds(settings: Callable[..., SearchSettings]) -> None:
    once, twice = settings(Scheme.PER_LAYER), settings(Scheme.PER_LAYER, second_round=6)

    spaces = [stage_space(once, STAGE), widen(stage_space(once, STAGE)), shown_space(twice, STAGE)]

    assert shown_space(once, STAGE) == spaces[0]
    for inner, outer in pairwise(spaces):
        assert all(
            outer.axes[name].low <= axis.low and axis.high <= outer.axes[name].high for name, axis in inner.axes.items()
        )


def test_a_space_holds_points_with_exactly_its_axes() -> None:
    geometric = replace(DEFAULT_SPACE, more=FACTORS)
    inside = fill(POINT, geometric.axes)

    assert geometric.holds(inside)
    assert not geometric.holds(POINT)
    assert not DEFAULT_SPACE.holds(inside)
    assert not geometric.holds(Point.of(inside.values | {"learning_rate_factor": 2.5}))
