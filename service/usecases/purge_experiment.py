"""Remove an ended experiment for good."""

from uuid import UUID

from service.domain.errors import Conflict
from service.domain.states import ExperimentState
from service.storage import Storage, experiments, purging


def purge_experiment(store: Storage, experiment_id: UUID) -> None:
    """Delete an experiment, and of its searches those that no other experiment has or stands on.

    Their studies in Optuna's tables go with the projector's next pass, their checkpoints when artifacts are swept.

    Raises:
        NotFound: there is no such experiment.
        Conflict: it has not ended, or a worker is at a task that would go.
    """
    with store.transaction() as tx:
        # Whoever submits meanwhile waits, so that nobody comes to stand on a search that goes.
        experiments.lock_membership(tx)
        state = experiments.get(tx, experiment_id, lock=True).state
        if state not in ExperimentState.ended():
            raise Conflict(f"the experiment is {state}: cancel it first")
        unshared = purging.lock_unshared(tx, experiment_id)
        if purging.count_leases(tx, unshared):
            raise Conflict("a worker is computing an embedding of it: try again when that is done")
        purging.remove(tx, experiment_id, unshared)
