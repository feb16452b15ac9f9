"""Move an experiment on as far as its rows allow.

Everything is worked out from what is stored, so that a crash at any point is mended by doing it again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

from service.domain.search import opening
from service.domain.space import Point
from service.domain.states import ExperimentState, SearchState, TaskKind, TaskState
from service.domain.work import TaskWork, evaluation_work, range_test_work, training_work
from service.storage import Storage, Transaction, experiments, results, searches, tasks, trials
from service.storage.experiments import Membership
from service.storage.searches import SearchRow
from service.storage.tasks import NewTask
from service.usecases.announce_news import News, announce_news
from service.usecases.decide_search import Confirmation, decide_open_search, load_past

Key = tuple[UUID, int]
"""A search and a seed."""


@dataclass(frozen=True, slots=True)
class _Networks:
    """What has been trained on every seed, and the tasks there are for the rest; ``new`` ones are not stored yet."""

    searches: dict[UUID, SearchRow]
    points: dict[UUID, Point]
    checkpoints: dict[Key, str]
    states: dict[tuple[TaskKind, UUID, int], TaskState]
    new: list[NewTask] = field(default_factory=list)

    def prefix(self, search: SearchRow, seed: int) -> list[str] | None:
        """The checkpoints before the search's stage on a seed, root first; None while one is missing."""
        found: list[str] = []
        above = search.parent_id
        while above is not None:
            checkpoint = self.checkpoints.get((above, seed))
            if checkpoint is None:
                return None
            found.insert(0, checkpoint)
            above = self.searches[above].parent_id
        return found


def advance_experiment(store: Storage, experiment_id: UUID) -> ExperimentState:
    """Decide and open searches, create what they and the other seeds lack, then evaluations; the state after that.

    A search that is decided takes a statement of its own; the number of all others does not depend on the experiment.
    """
    with store.transaction() as tx:
        experiment = experiments.get(tx, experiment_id, lock=True)
        if experiment.state is not ExperimentState.RUNNING:
            return experiment.state
        rows, confirmations = _move_searches(tx, searches.of_experiment(tx, experiment_id))
        networks = _load(tx, rows)
        members = experiments.memberships(tx, experiment_id)
        _create_range_tests(networks)
        _create_confirmations(networks, confirmations)
        fits = _fits(networks, members)
        _store(tx, networks)
        if not all(row.state in SearchState.ended() for row in rows) or _pending(fits):
            return experiment.state
        tests = _tests(networks, members)
        _store(tx, networks)
        if _pending(tests):
            return experiment.state
        state = ExperimentState.FINISHED if TaskState.DONE in tests else ExperimentState.FAILED
        experiments.set_state(tx, experiment_id, state)
        tx.announce(experiment_id, str(state))
        return state


def _move_searches(tx: Transaction, rows: Sequence[SearchRow]) -> tuple[list[SearchRow], list[Confirmation]]:
    """The searches as they are now, and the confirmations that open ones lack."""
    # What still trains decides nothing: nobody need read hundreds of trials after each of them.
    training = trials.still_running(tx, [row.id for row in rows if row.state is SearchState.OPEN])
    past, states = load_past(tx, [row for row in rows if row.id not in training]), _states(tx, rows)
    now: list[SearchRow] = []
    confirmations: list[Confirmation] = []
    news: list[News] = []
    # Those that a search waits for stand first: one pass carries a decision down to everything it opens.
    for row in rows:
        if row.state is SearchState.OPEN and row.id not in training:
            move = decide_open_search(tx, row, past)
            now.append(move.search)
            confirmations += move.lacking
            news += move.news
        elif row.state is SearchState.WAITING:
            state = opening(
                None if row.parent_id is None else states[row.parent_id],
                None if row.earlier_id is None else states[row.earlier_id],
                [states[match] for match in row.match_ids],
            )
            now.append(replace(row, state=state))
        else:
            now.append(row)
        states[row.id] = now[-1].state
    waited = {row.id for row in rows if row.state is SearchState.WAITING}
    news += _enter(tx, [row for row in now if row.id in waited])
    announce_news(tx, news)
    return now, confirmations


def _states(tx: Transaction, rows: Sequence[SearchRow]) -> dict[UUID, SearchState]:
    """The states of the searches and of those they wait for."""
    states = {row.id: row.state for row in rows}
    links = {link for row in rows for link in (row.parent_id, row.earlier_id, *row.match_ids) if link is not None}
    # A shared search may have started from one that died and has been searched again since.
    elsewhere = links - states.keys()
    return states | searches.states(tx, elsewhere) if elsewhere else states


def _enter(tx: Transaction, rows: Sequence[SearchRow]) -> list[News]:
    """Store the new states of searches that waited; what there is to tell of those that nobody else has moved."""
    opened = [row for row in rows if row.state is SearchState.OPEN]
    dead = [row.id for row in rows if row.state is SearchState.DEAD]
    news: list[News] = []
    if opened:
        spent = results.search_seconds(tx, {match for row in opened for match in row.match_ids})
        seconds = {row.id: sum(spent[match] for match in row.match_ids) if row.match_ids else None for row in opened}
        moved = searches.open_waiting(tx, seconds)
        news += [News(row.id, "search-open") for row in opened if row.id in moved]
    if dead:
        fallen = searches.kill_waiting(tx, dead)
        news += [News(identity, "search-dead") for identity in dead if identity in fallen]
    return news


def _load(tx: Transaction, rows: Sequence[SearchRow]) -> _Networks:
    ids = [row.id for row in rows]
    trained = results.trainings(tx, ids)
    others = tasks.of_searches(tx, ids, (TaskKind.RANGE_TEST, TaskKind.FIT, TaskKind.EVALUATE))
    points = trials.points(tx, [row.incumbent_id for row in rows])
    return _Networks(
        searches={row.id: row for row in rows},
        points={row.id: points[row.incumbent_id] for row in rows if row.incumbent_id is not None},
        checkpoints={(item.search_id, item.seed): item.checkpoint for item in trained if item.checkpoint is not None},
        states={(task.kind, task.search_id, task.seed): task.state for task in others},
    )


def _create_range_tests(networks: _Networks) -> None:
    for search in networks.searches.values():
        if search.state is not SearchState.OPEN or not search.spec.search.range_test:
            continue
        prefix = networks.prefix(search, search.seed)
        if prefix is not None and (TaskKind.RANGE_TEST, search.id, search.seed) not in networks.states:
            work = range_test_work(search.spec, search.planned, prefix, search.space, search.seed)
            _create(networks, TaskKind.RANGE_TEST, search, search.seed, work)


def _create_confirmations(networks: _Networks, wanted: Iterable[Confirmation]) -> None:
    """Train candidates again on the prefix of the search's own seed."""
    for item in wanted:
        search, candidate = networks.searches[item.search_id], item.candidate
        prefix = networks.prefix(search, search.seed)
        assert prefix is not None, "an open search stands on decided ones"
        label = f"{search.name} trial {candidate.ordinal} seed {item.seed}"
        work = training_work(search.spec, search.planned, prefix, candidate.point, item.seed)
        networks.new.append(NewTask(uuid4(), TaskKind.FIT, search.id, item.seed, label, work, candidate=candidate.id))


def _fits(networks: _Networks, members: Iterable[Membership]) -> list[TaskState]:
    """The states of the fits of decided searches on the other seeds, after creating those that are missing."""
    states: list[TaskState] = []
    for member in members:
        search = networks.searches[member.search_id]
        for seed in member.seeds:
            if search.state is not SearchState.DECIDED or seed == search.seed:
                continue
            prefix = networks.prefix(search, seed)
            key = (TaskKind.FIT, search.id, seed)
            if prefix is not None and key not in networks.states:
                work = training_work(search.spec, search.planned, prefix, networks.points[search.id], seed)
                _create(networks, TaskKind.FIT, search, seed, work)
            if key in networks.states:
                states.append(networks.states[key])
    return states


def _tests(networks: _Networks, members: Iterable[Membership]) -> list[TaskState]:
    """The states of the evaluations of whole networks, after creating those that are missing."""
    states: list[TaskState] = []
    for member in members:
        search = networks.searches[member.search_id]
        for seed in member.seeds:
            if search.state is not SearchState.DECIDED or not member.leaf:
                continue
            prefix, checkpoint = networks.prefix(search, seed), networks.checkpoints.get((search.id, seed))
            key = (TaskKind.EVALUATE, search.id, seed)
            if prefix is not None and checkpoint is not None and key not in networks.states:
                work = evaluation_work(search.spec, search.planned, prefix, checkpoint, seed)
                _create(networks, TaskKind.EVALUATE, search, seed, work)
            if key in networks.states:
                states.append(networks.states[key])
    return states


def _create(networks: _Networks, kind: TaskKind, search: SearchRow, seed: int, work: TaskWork) -> None:
    networks.new.append(NewTask(uuid4(), kind, search.id, seed, f"{search.name} {kind} seed {seed}", work))
    networks.states[kind, search.id, seed] = TaskState.READY


def _store(tx: Transaction, networks: _Networks) -> None:
    tasks.add(tx, networks.new)
    networks.new.clear()


def _pending(states: list[TaskState]) -> bool:
    return any(state not in TaskState.ended() for state in states)
