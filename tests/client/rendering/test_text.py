"""Numbers as people read them."""

import pytest

from client.rendering.text import (
    amount,
    duration,
    durations,
    hyperparameters,
    interval,
    layers_legend,
    plural,
    scientific,
    size,
)
from contract.experiments import Interval
from contract.submission import Point
from tests.client.rich import GEOMETRIC, LAYERED


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0, "0.00 s"), (9.994, "9.99 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (3599.6, "1 h 00 min"),
     (11_220.0, "3 h 07 min")],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, "-"), (0, "0 B"), (1023, "1.0 KiB"), (3_500_000, "3.3 MiB"), (2**40, "1.0 TiB")]
)
def test_sizes(count: int | None, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (999, "999"), (12_345, "12.3 k"), (6_700_000_000, "6.7 G")])
def test_amounts(count: int, text: str) -> None:
    assert amount(count) == text


def test_hyperparameters() -> None:
    assert scientific(0.2) == "2.0e-1"
    assert hyperparameters(Point(learning_rate=6.9e-5, regularization=0.28)) == "6.9e-5 / 2.8e-1"
    assert hyperparameters(None) == "-"


def test_hyperparameters_of_every_layer() -> None:
    assert hyperparameters(LAYERED) == "3.4e-3, 1.0e-2, head 5.6e-2 / 2.0e-4, 3.0e-4, head 1.0e-3"
    assert hyperparameters(GEOMETRIC) == "1.2e-2 × 0.5^k / 3.0e-4 × 2^k"
    assert [line.split()[0] for line in layers_legend([None, GEOMETRIC, LAYERED])] == ["x", "several"]
    assert layers_legend([Point(learning_rate=0.1, regularization=0.1), None]) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (Interval(mean=12.3, low=None, high=None, values=[12.3]), "12.3 s"),
        (Interval(mean=245.0, low=244.6, high=245.4, values=[245.0, 245.0]), "4 min 05 s ± 0.40 s"),
        # Cut off below: the other half is the whole one.
        (Interval(mean=5.0, low=0.0, high=55.0, values=[1.0, 9.0]), "5.00 s ± 50.0 s"),
    ],
)
def test_durations_over_seeds(value: Interval | None, text: str) -> None:
    assert durations(value) == text


def test_half_an_interval_is_the_half_that_is_whole() -> None:
    assert interval(Interval(mean=0.95, low=0.3, high=1.0, values=[0.9, 1.0])) == "0.950 ± 0.650"


def test_plurals() -> None:
    assert [plural(1, "search"), plural(2, "search"), plural(0, "trial")] == ["1 search", "2 searches", "0 trials"]
