"""What went wrong in an experiment, attempt by attempt."""

from uuid import UUID

from service.domain.views import Failures
from service.storage import Storage, attempts, experiments, retries


def list_failures(store: Storage, experiment: UUID, limit: int, *, log: bool = False) -> Failures:
    """Its attempts that were lost or failed, newest first, with their last log lines if ``log``. Raises NotFound."""
    with store.reading() as tx:
        experiments.get(tx, experiment)
        return Failures(
            items=attempts.failed(tx, experiment, limit, log=log),
            total=attempts.count_failed(tx, experiment),
            retryable=len(retries.retryable(tx, experiment)),
        )
