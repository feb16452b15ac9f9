"""No more experiments open at once than the server takes."""

from service.domain.errors import TooManyExperiments
from service.storage import experiments
from service.storage.engine import Transaction


def limit_experiments(tx: Transaction, most_open: int) -> None:
    """Before one more is opened, with the membership locked; 0 takes any number. Raises TooManyExperiments."""
    if most_open and experiments.count_open(tx) >= most_open:
        raise TooManyExperiments(
            f"{most_open} experiments are running or paused, the most that this server takes "
            "(STAGETUNE_OPEN_EXPERIMENTS)"
        )
