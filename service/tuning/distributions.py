"""Our points and spaces in Optuna's terms."""

from optuna.distributions import BaseDistribution, FloatDistribution

from service.domain.space import Point, Space


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """All axes as Optuna's log-uniform floats."""
    return {name: FloatDistribution(axis.low, axis.high, log=True) for name, axis in space.axes.items()}


def parameters(point: Point) -> dict[str, float]:
    """The point as Optuna's dictionary of parameters."""
    return point.values
