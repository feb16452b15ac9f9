"""Pause, resume or cancel an experiment. What another live experiment stands on goes on."""

from uuid import UUID

from service.domain.errors import Conflict
from service.domain.states import ExperimentState
from service.storage import Storage, Transaction, cancellation, experiments


def pause_experiment(store: Storage, experiment_id: UUID) -> None:
    """Lease and suggest nothing more for it; its workers are told to hand their tasks back. Pausing twice is once."""
    _change(store, experiment_id, ExperimentState.PAUSED, "paused")


def resume_experiment(store: Storage, experiment_id: UUID) -> None:
    """Go on where it was paused."""
    _change(store, experiment_id, ExperimentState.RUNNING, "resumed")


def cancel_experiment(store: Storage, experiment_id: UUID) -> None:
    """End it now, with its searches and tasks that no other live experiment wants. Cancelling twice is once."""
    with store.transaction() as tx:
        experiments.lock_membership(tx)
        if not _enter(tx, experiment_id, ExperimentState.CANCELLED):
            return
        cancellation.cancel_searches(tx, experiment_id)
        cancellation.cancel_tasks(tx, experiment_id)
        cancellation.cancel_trials(tx, experiment_id)
        tx.announce(experiment_id, "cancelled")


def _change(store: Storage, experiment_id: UUID, state: ExperimentState, event: str) -> None:
    with store.transaction() as tx:
        if _enter(tx, experiment_id, state):
            tx.announce(experiment_id, event)


def _enter(tx: Transaction, experiment_id: UUID, state: ExperimentState) -> bool:
    now = experiments.get(tx, experiment_id, lock=True).state
    if now is state:
        return False
    if now in ExperimentState.ended():
        raise Conflict(f"the experiment is {now} already")
    experiments.set_state(tx, experiment_id, state)
    return True
