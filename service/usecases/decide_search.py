"""Decide a stage search once all of its trials have finished."""

from collections.abc import Sequence
from uuid import UUID

from service.domain.search import decide
from service.domain.states import SearchState
from service.storage import Transaction, experiments, searches
from service.storage.trials import TrialRow


def decide_open_search(tx: Transaction, search_id: UUID, budget: int, past: Sequence[TrialRow]) -> SearchState:
    """Choose the incumbent of a search that was open when it was read, if every trial has finished; its state now."""
    decision = decide([trial.summary() for trial in past], budget)
    if decision.state is SearchState.OPEN:
        return decision.state
    incumbent = next((trial for trial in past if trial.ordinal == decision.incumbent), None)
    if not searches.enter(
        tx,
        search_id,
        decision.state,
        only_from=SearchState.OPEN,
        incumbent=None if incumbent is None else incumbent.id,
    ):
        return searches.states(tx, [search_id])[search_id]
    if decision.state is SearchState.DEAD:
        for descendant in searches.kill_descendants(tx, search_id):
            for experiment in experiments.on_search(tx, descendant):
                tx.announce(experiment, "search-dead", search=str(descendant))
    for experiment in experiments.on_search(tx, search_id):
        tx.announce(
            experiment,
            f"search-{decision.state}",
            search=str(search_id),
            accuracy=None if incumbent is None else incumbent.value,
            ordinal=decision.incumbent,
        )
    return decision.state
