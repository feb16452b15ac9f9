"""Ask ahead: suggest as many trials as keep the workers busy."""

import logging
from collections.abc import Callable, Mapping
from uuid import UUID, uuid4

from service.domain.ask_ahead import OpenSearch, affordable, searches_to_ask
from service.domain.errors import DatabaseUnavailable
from service.domain.search import start_points
from service.domain.space import SearchBrief, Suggest
from service.domain.states import SearchState, TaskKind
from service.domain.work import trial_work
from service.failpoints import reach
from service.storage import Storage, searches, tasks, trials, workers
from service.storage.searches import Standing
from service.storage.tasks import NewTask

logger = logging.getLogger(__name__)


def suggest_trials(
    store: Storage,
    suggest: Suggest,
    blind: Callable[[SearchBrief], int],
    alive_seconds: float,
    added: Callable[[], None] = lambda: None,
) -> int:
    """Suggest trials of open searches, make tasks of them, and return how many.

    ``blind`` tells how many suggestions of a search learn from no result. A worker counts as long as it was seen
    within ``alive_seconds``. ``added`` is called after each: a draw may take a second, and workers wait for its task.
    """
    with store.reading() as tx:
        fleet = workers.fleet(tx, alive_seconds)
        wanting = searches.wanting_trials(tx, alive_seconds) if fleet.workers else []
        if not wanting:
            return 0
        others = tasks.count_pending_others(tx)
        standings = searches.standings(tx, [row.id for row in wanting])
    briefs = _briefs(standings)
    wanting = [row for row in wanting if row.id in briefs]
    ids = {row.key: row.id for row in wanting}
    allowed = {row.key: affordable(row.budget, row.finished, row.seconds, row.spent) for row in wanting}
    chosen = searches_to_ask(
        [
            OpenSearch(
                key=row.key,
                budget=allowed[row.key],
                asked=row.asked,
                pending=row.asked - row.finished,
                blind=blind(briefs[row.id]),
                experiment=str(row.experiment),
                priority=row.priority,
            )
            for row in wanting
        ],
        fleet.slots,
        fleet.workers,
        others,
    )
    made = 0
    for key in chosen:
        try:
            if _suggest(store, suggest, standings[ids[key]], briefs[ids[key]], allowed[key]):
                made += 1
                added()
        except DatabaseUnavailable:
            raise
        except Exception:
            # A search whose sampler fails must not keep the others from their trials.
            logger.exception("search %s gets no suggestion", ids[key])
    return made


def _briefs(standings: Mapping[UUID, Standing]) -> dict[UUID, SearchBrief]:
    briefs = {}
    for identity, standing in standings.items():
        try:
            briefs[identity] = _brief(standing)
        except Exception:
            logger.exception("search %s gets no suggestion", identity)
    return briefs


def _brief(standing: Standing) -> SearchBrief:
    search, settings = standing.search, standing.search.spec.search
    ancestors = [frozen.point for frozen in standing.prefix]
    return SearchBrief(
        key=search.key,
        sampler=settings.sampler,
        space=search.space,
        trials=search.budget,
        start_points=start_points(
            settings, search.planned.stage, search.space, search.budget, standing.earlier, ancestors
        ),
        # Random exponential search goes on around what the earlier phase found, where it starts from that.
        initial=standing.earlier or settings.initial,
    )


def _suggest(store: Storage, suggest: Suggest, standing: Standing, brief: SearchBrief, allowed: int) -> bool:
    search = standing.search
    # Another server may be at the same search. The draw takes seconds, so no transaction is open meanwhile; the
    # ordinal is what cannot be given twice.
    with store.exclusive(f"search:{search.id}") as alone:
        if not alone:
            return False
        with store.reading() as tx:
            past = trials.of_search(tx, search.id)
        ordinal = len(past)
        if ordinal >= allowed:
            return False
        suggestion = suggest(brief, tuple(trial.past() for trial in past), ordinal)
        reach("after-ask")
        checkpoints = [frozen.checkpoint for frozen in standing.prefix]
        work = trial_work(search.spec, search.planned, checkpoints, suggestion.point, search.seed)
        trial_id = uuid4()
        with store.transaction() as tx:
            still = searches.get(tx, search.id, lock=True)
            if still.state is not SearchState.OPEN or not trials.add(tx, trial_id, search.id, ordinal, suggestion):
                return False
            label = f"{search.name} trial {ordinal}"
            tasks.add(tx, [NewTask(uuid4(), TaskKind.TRIAL, search.id, search.seed, label, work, trial=trial_id)])
        reach("after-suggestion-commit")
    return True
