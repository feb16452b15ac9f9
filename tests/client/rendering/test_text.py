"""Numbers as people read them."""

import pytest

from client.rendering.text import amount, duration, hyperparameters, plural, scientific, size
from contract.submission import Point


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


def test_plurals() -> None:
    assert [plural(1, "search"), plural(2, "search"), plural(0, "trial")] == ["1 search", "2 searches", "0 trials"]
