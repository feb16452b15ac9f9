"""Numbers as people read them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from contract.experiments import Interval
from contract.submission import Point

NOTHING = "-"
NOISE_ERRORS = 1.96
"""Standard errors in half of a 95 % interval."""


def duration(seconds: float | None) -> str:
    """Seconds as 0.42 s, 12.3 s, 4 min 05 s or 3 h 07 min."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: int | None) -> str:
    """Bytes in binary units: 512 B, 3.4 KiB, 120 MiB."""
    if count is None:
        return NOTHING
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def amount(count: int) -> str:
    """A large count in short: 950, 12.3 k, 4.5 M, 6.7 G."""
    value = float(count)
    for unit in ("", " k", " M", " G", " T"):
        if value < 999.5:
            return f"{value:.0f}{unit}" if not unit or value >= 99.95 else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:.1f} P"


def scientific(value: float) -> str:
    """A hyperparameter: 1.2e-2."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


@dataclass(frozen=True)
class Axis:
    """What a point says of the learning rate or the regularization.

    Beside the ``base`` a ``factor`` that multiplies it from layer to layer, or what every one of the ``layers`` has
    for itself; then the base is the head's.
    """

    base: float
    factor: float | None
    layers: tuple[float, ...]

    @staticmethod
    def of(point: Point, name: Literal["learning_rate", "regularization"]) -> "Axis":
        more = {key.removeprefix(f"{name}_"): value for key, value in point.more.items() if key.startswith(name)}
        factor = more.pop("factor", None)
        return Axis(getattr(point, name), factor, tuple(more[number] for number in sorted(more, key=int)))

    def __str__(self) -> str:
        """`1.2e-2`, `1.2e-2 × 0.5^k` or `1.2e-2, 3.4e-3, head 5.6e-2`."""
        if self.factor is not None:
            return f"{scientific(self.base)} × {self.factor:.2g}^k"
        return ", ".join([*map(scientific, self.layers), f"{'head ' if self.layers else ''}{scientific(self.base)}"])


def hyperparameters(point: Point | None) -> str:
    """Learning rate / regularization."""
    return NOTHING if point is None else f"{Axis.of(point, 'learning_rate')} / {Axis.of(point, 'regularization')}"


def layers_legend(points: Iterable[Point | None]) -> list[str]:
    """How to read hyperparameters of schemes that have more than a pair for a stage."""
    names = {name for point in points if point is not None for name in point.more}
    legend = []
    if any(name.endswith("_factor") for name in names):
        legend.append("x × f^k: x in a stage's first convolution (k = 0), times f in each further one and in the head")
    if any(not name.endswith("_factor") for name in names):
        legend.append("several values of a stage: one for each of its convolutions, then the head's")
    return legend


def accuracy(value: float | None) -> str:
    """An accuracy in [0, 1] with three digits."""
    return NOTHING if value is None else f"{value:.3f}"


def mean(value: Interval | None) -> float | None:
    """The middle of an interval."""
    return None if value is None else value.mean


def learning_rate(point: Point | None) -> float | None:
    """A stage's learning rate, once it is decided."""
    return None if point is None else point.learning_rate


def regularization(point: Point | None) -> float | None:
    """A stage's regularization, once it is decided."""
    return None if point is None else point.regularization


def interval(value: Interval | None, plus_minus: str = "±") -> str:
    """A mean, with half the width of its confidence interval when there are several seeds."""
    if value is None:
        return NOTHING
    if value.low is None or value.high is None:
        return accuracy(value.mean)
    return f"{value.mean:.3f} {plus_minus} {half(value):.3f}"


def durations(value: Interval | None) -> str:
    """Mean seconds, with half the width of their confidence interval when there are several seeds."""
    if value is None or value.low is None:
        return duration(mean(value))
    return f"{duration(value.mean)} ± {duration(half(value))}"


def half(value: Interval) -> float:
    """Half the width of a confidence interval, which may be cut off at one end; 0 with one seed."""
    if value.low is None or value.high is None:
        return 0.0
    return max(value.high - value.mean, value.mean - value.low)


def signed(points: float) -> str:
    """Percentage points with their sign; what rounds to nothing has a plus."""
    return f"{round(points, 1) + 0.0:+.1f}"


def moment(at: datetime) -> str:
    """A time in the reader's zone."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M")


def short(identifier: object) -> str:
    """The start of an id, as lists show it; commands accept it."""
    return str(identifier)[:8]


def plural(count: int, noun: str) -> str:
    """`1 trial`, `2 trials`, `2 searches`, `2 epochs`."""
    if count == 1:
        return f"{count} {noun}"
    hissing = noun.endswith(("s", "ch", "x")) and noun != "epoch"
    return f"{count} {noun}{'es' if hissing else 's'}"
