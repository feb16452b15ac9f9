"""End a stage search that has no incumbent, and what stands on it."""

from uuid import UUID

from service.domain.states import SearchState, TrialState
from service.storage import Transaction, experiments, searches, tasks, trials


def end_without_incumbent(tx: Transaction, search: UUID, state: SearchState) -> bool:
    """End an open search as DEAD or INFEASIBLE, and everything that waits for it; False when it has moved already."""
    if not searches.end(tx, search, state, only_from=SearchState.OPEN):
        return False
    for descendant in searches.kill_descendants(tx, search):
        announce_on_search(tx, descendant, "search-dead")
    announce_on_search(tx, search, f"search-{state}", accuracy=None, ordinal=None)
    return True


def end_infeasible(tx: Transaction, search: UUID) -> None:
    """A trial takes more memory than its limit: all others would as well, and the search ends at once.

    ``searches.lock_of_task`` comes first in the transaction.
    """
    limited = searches.get(tx, search).spec.limits.memory is not None
    # What fitted once fits: another kind of device measures otherwise, and the search keeps what it has.
    fitted = any(trial.state is TrialState.COMPLETE for trial in trials.of_search(tx, search))
    if limited and not fitted and end_without_incumbent(tx, search, SearchState.INFEASIBLE):
        tasks.cancel_of_search(tx, search)
        trials.cancel_running(tx, search)


def announce_on_search(tx: Transaction, search: UUID, kind: str, **data: object) -> None:
    """Add a line to the history of every live experiment that stands on a search."""
    for experiment in experiments.on_search(tx, search):
        tx.announce(experiment, kind, search=str(search), **data)
