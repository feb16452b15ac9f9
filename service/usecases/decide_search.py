"""Decide a stage search once all of its trials have finished."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from service.domain.identity import confirmation_seeds
from service.domain.schemes import widen
from service.domain.search import Progress, Step, decide, judged_by
from service.domain.states import SearchState, TaskState
from service.failpoints import reach
from service.storage import Transaction, confirmations, results, searches, trials
from service.storage.confirmations import ConfirmationRow
from service.storage.searches import SearchRow
from service.storage.trials import TrialRow
from service.usecases.announce_news import News
from service.usecases.end_search import end_without_incumbent


@dataclass(frozen=True, slots=True)
class Past:
    """What decisions on open searches look at."""

    trials: dict[UUID, list[TrialRow]]
    confirmations: dict[UUID, list[ConfirmationRow]]
    seconds: dict[UUID, float]
    prefix_accuracies: dict[UUID, float]


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A trial to be trained again with another seed."""

    search_id: UUID
    candidate: TrialRow
    seed: int


def load_past(tx: Transaction, rows: Sequence[SearchRow]) -> Past:
    """The past of the open ones among some searches, each kind in one statement."""
    ids = [row.id for row in rows if row.state is SearchState.OPEN]
    prefixes = confirmations.prefixes(tx, ids)
    confirmed: dict[UUID, list[ConfirmationRow]] = defaultdict(list)
    for item in confirmations.of_searches(tx, {*ids, *(prefix.search_id for prefix in prefixes.values())}):
        confirmed[item.search_id].append(item)
    chance = {row.id: row.spec.dataset.chance for row in rows}
    return Past(
        trials=trials.of_searches(tx, ids),
        confirmations=confirmed,
        seconds=results.search_seconds(tx, ids),
        prefix_accuracies={
            key: judged_by(
                prefix.accuracy,
                [
                    item.told(chance[key])
                    for item in confirmed[prefix.search_id]
                    if item.candidate_id == prefix.incumbent_id
                ],
            )
            for key, prefix in prefixes.items()
        },
    )


@dataclass(frozen=True, slots=True)
class Move:
    """An open search as it is now, the confirmations it still lacks, and what there is to tell of it."""

    search: SearchRow
    lacking: tuple[Confirmation, ...] = ()
    news: tuple[News, ...] = ()


def decide_open_search(tx: Transaction, search: SearchRow, past: Past) -> Move:
    """Move on a search that was open when it was read."""
    rows = {trial.ordinal: trial for trial in past.trials.get(search.id, [])}
    decision = decide(_progress(search, past))
    match decision.step:
        case Step.OPEN:
            return Move(search)
        case Step.SECOND_ROUND:
            more = search.spec.search.second_round
            if searches.begin_second_round(tx, search.id, more, widen(search.space)):
                return Move(search, news=(News(search.id, "search-second-round", {"trials": more}),))
            return Move(search)
        case Step.CONFIRM:
            known = {(item.candidate_id, item.seed) for item in past.confirmations.get(search.id, [])}
            lacking = tuple(
                Confirmation(search.id, rows[ordinal], seed)
                for ordinal in decision.candidates
                for seed in confirmation_seeds(search.spec)
                if (rows[ordinal].id, seed) not in known
            )
            ordinals = sorted({item.candidate.ordinal for item in lacking})
            told = (News(search.id, "search-confirming", {"ordinals": ordinals}),) if lacking else ()
            return Move(search, lacking, told)
        case Step.DEAD:
            news = end_without_incumbent(tx, search.id, SearchState.DEAD)
            return Move(replace(search, state=SearchState.DEAD), news=tuple(news)) if news else _moved(tx, search)
        case Step.DECIDED:
            assert decision.incumbent is not None
            chosen = rows[decision.incumbent]
            if not searches.end(tx, search.id, SearchState.DECIDED, chosen.id):
                return _moved(tx, search)
            reach("before-decision-commit")
            told = (News(search.id, "search-decided", {"accuracy": chosen.value, "ordinal": chosen.ordinal}),)
            return Move(replace(search, state=SearchState.DECIDED, incumbent_id=chosen.id), news=told)


def _moved(tx: Transaction, search: SearchRow) -> Move:
    """Another experiment on the search was advanced at the same moment, and decided it."""
    return Move(searches.get(tx, search.id))


def _progress(search: SearchRow, past: Past) -> Progress:
    rows = past.trials.get(search.id, [])
    settings = search.spec.search
    return Progress(
        trials=[trial.summary() for trial in rows],
        budget=search.budget,
        spent=search.seconds is not None and past.seconds[search.id] >= search.seconds,
        # Who may spend seconds has spent them.
        second_round=settings.second_round if search.round == 1 and search.seconds is None else 0,
        prefix_accuracy=past.prefix_accuracies.get(search.id),
        images=search.spec.split.validation,
        seeds=confirmation_seeds(search.spec),
        confirmed=_confirmed(search, rows, past.confirmations.get(search.id, [])),
    )


def _confirmed(
    search: SearchRow, rows: Sequence[TrialRow], found: Sequence[ConfirmationRow]
) -> dict[tuple[int, int], float | None]:
    ordinals = {trial.id: trial.ordinal for trial in rows}
    chance = search.spec.dataset.chance
    return {
        (ordinals[item.candidate_id], item.seed): item.told(chance) for item in found if item.state in TaskState.ended()
    }
