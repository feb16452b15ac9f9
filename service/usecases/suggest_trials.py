"""Ask ahead: suggest as many trials as keep the workers busy."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID, uuid4

from service.domain.ask_ahead import OpenSearch, affordable, searches_to_ask
from service.domain.errors import DatabaseUnavailable
from service.domain.search import start_points
from service.domain.space import PastTrial, SearchBrief, Suggest, Suggestion
from service.domain.states import SearchState, TaskKind
from service.domain.work import trial_work
from service.failpoints import reach
from service.storage import Storage, searches, tasks, trials, workers
from service.storage.searches import Standing
from service.storage.tasks import NewTask

logger = logging.getLogger(__name__)
# As many suggestions that learn from no result become tasks together; they take milliseconds each.
TOGETHER = 32


@dataclass(frozen=True, slots=True)
class _Open:
    """A search that may get up to ``allowed`` trials; those before ``blind`` learn from no result."""

    standing: Standing
    brief: SearchBrief
    allowed: int
    blind: int


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
    open_searches = {
        row.key: _Open(
            standings[row.id],
            briefs[row.id],
            affordable(row.budget, row.finished, row.seconds, row.spent),
            blind(briefs[row.id]),
        )
        for row in wanting
        if row.id in briefs
    }
    chosen = searches_to_ask(
        [
            OpenSearch(
                key=row.key,
                budget=open_searches[row.key].allowed,
                asked=row.asked,
                pending=row.asked - row.finished,
                blind=open_searches[row.key].blind,
                experiment=str(row.experiment),
                priority=row.priority,
            )
            for row in wanting
            if row.key in open_searches
        ],
        fleet.slots,
        fleet.workers,
        others,
    )
    made = 0
    for key, turns in groupby(chosen):
        wanted = len(list(turns))
        try:
            while wanted > 0 and (drawn := _suggest(store, suggest, open_searches[key], min(wanted, TOGETHER))):
                wanted -= drawn
                made += drawn
                added()
        except DatabaseUnavailable:
            raise
        except Exception:
            # A search whose sampler fails must not keep the others from their trials.
            logger.exception("search %s gets no suggestion", open_searches[key].standing.search.id)
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
        key=search.planned.draws or search.key,
        sampler=settings.sampler,
        space=search.space,
        trials=search.budget,
        start_points=start_points(
            settings, search.planned.stage, search.space, search.budget, standing.earlier, ancestors
        ),
        # Random exponential search goes on around what the earlier phase found, where it starts from that.
        initial=standing.earlier or settings.initial,
    )


def _suggest(store: Storage, suggest: Suggest, asked: _Open, wanted: int) -> int:
    """Make up to ``wanted`` trials and their tasks, as many as take no time to draw, and return how many."""
    search = asked.standing.search
    # Another server may be at the same search. The draw takes seconds, so no transaction is open meanwhile; an
    # ordinal is what cannot be given twice.
    with store.exclusive(f"search:{search.id}") as alone:
        if not alone:
            return 0
        with store.reading() as tx:
            ordinal = trials.count(tx, search.id)
            # Thousands, in some searches; who learns from no result need not know them.
            past = () if ordinal < asked.blind else trials.past(tx, search.id)
        drawn = _draw(suggest, asked, past, ordinal, min(wanted, asked.allowed - ordinal))
        if not drawn:
            return 0
        reach("after-ask")
        with store.transaction() as tx:
            still = searches.get(tx, search.id, lock=True)
            suggested = {uuid4(): suggestion for suggestion in drawn}
            if still.state is not SearchState.OPEN or not trials.add(tx, search.id, ordinal, suggested):
                return 0
            tasks.add(tx, _tasks(asked.standing, suggested, ordinal))
        reach("after-suggestion-commit")
    return len(drawn)


def _draw(suggest: Suggest, asked: _Open, past: tuple[PastTrial, ...], ordinal: int, most: int) -> list[Suggestion]:
    """One suggestion, and blind ones after it: workers wait for them, and a model takes long for each of its own."""
    drawn: list[Suggestion] = []
    while len(drawn) < most and (not drawn or ordinal + len(drawn) < asked.blind):
        try:
            suggestion = suggest(asked.brief, past, ordinal + len(drawn))
        except Exception:
            if not drawn:
                raise
            # Those before it need not wait for one that cannot be drawn; the next turn tells of it.
            break
        drawn.append(suggestion)
    return drawn


def _tasks(standing: Standing, suggested: Mapping[UUID, Suggestion], first: int) -> list[NewTask]:
    search = standing.search
    checkpoints = [frozen.checkpoint for frozen in standing.prefix]
    # Of tasks that were made at one moment those with lower ids are claimed first.
    identities = sorted(uuid4() for _ in suggested)
    numbered = enumerate(zip(identities, suggested.items(), strict=True), first)
    return [
        NewTask(
            identity,
            TaskKind.TRIAL,
            search.id,
            search.seed,
            f"{search.name} trial {ordinal}",
            trial_work(search.spec, search.planned, checkpoints, suggestion.point, search.seed),
            trial=trial,
        )
        for ordinal, (identity, (trial, suggestion)) in numbered
    ]
