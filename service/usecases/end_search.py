"""End a stage search that has no incumbent, and what stands on it."""

from uuid import UUID

from service.domain.states import SearchState, TrialState
from service.storage import Transaction, cancellation, searches, trials
from service.usecases.announce_news import News, announce_news


def end_without_incumbent(tx: Transaction, search: UUID, state: SearchState) -> list[News]:
    """End an open search as DEAD or INFEASIBLE, and everything that waits for it; no news when it has moved already."""
    if not searches.end(tx, search, state):
        return []
    fallen = [News(descendant, "search-dead") for descendant in searches.kill_descendants(tx, search)]
    return [*fallen, News(search, f"search-{state}", {"accuracy": None, "ordinal": None})]


def end_infeasible(tx: Transaction, search: UUID) -> None:
    """A trial takes more memory than its limit: all others would as well, and the search ends at once.

    ``searches.lock_of_task`` comes first in the transaction.
    """
    limited = searches.get(tx, search).spec.limits.memory is not None
    # What fitted once fits: another kind of device measures otherwise, and the search keeps what it has.
    fitted = any(trial.state is TrialState.COMPLETE for trial in trials.of_search(tx, search))
    if limited and not fitted:
        news = end_without_incumbent(tx, search, SearchState.INFEASIBLE)
        if news:
            cancellation.cancel_work_of_search(tx, search)
        announce_news(tx, news)
