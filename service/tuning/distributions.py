"""Our points and spaces in Optuna's terms."""

from optuna.distributions import BaseDistribution, FloatDistribution

from service.domain.space import PARAMETERS, Point, Space


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Both axes as Optuna's log-uniform floats."""
    return {
        name: FloatDistribution(interval.low, interval.high, log=True)
        for name, interval in zip(PARAMETERS, (space.learning_rate, space.regularization), strict=True)
    }


def parameters(point: Point) -> dict[str, float]:
    """The point as Optuna's dictionary of parameters."""
    return {name: getattr(point, name) for name in PARAMETERS}
