"""Move an experiment on as far as its rows allow.

Everything is worked out from what is stored, so that a crash at any point is mended by doing it again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID, uuid4

from service.domain.search import opening
from service.domain.space import Point
from service.domain.states import ExperimentState, SearchState, TaskKind, TaskState
from service.domain.work import TaskWork, evaluation_work, range_test_work, training_work
from service.storage import Storage, Transaction, experiments, results, searches, tasks, trials
from service.storage.experiments import Membership
from service.storage.searches import SearchRow
from service.usecases.decide_search import Confirmation, decide_open_search, load_past
from service.usecases.end_search import announce_on_search

Key = tuple[UUID, int]
"""A search and a seed."""


@dataclass(frozen=True, slots=True)
class _Networks:
    """What has been trained on every seed, and the tasks there are for the rest."""

    searches: dict[UUID, SearchRow]
    points: dict[UUID, Point]
    checkpoints: dict[Key, str]
    states: dict[tuple[TaskKind, UUID, int], TaskState]

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
    """Decide and open searches, create what they and the other seeds lack, then evaluations; the state after that."""
    with store.transaction() as tx:
        experiment = experiments.get(tx, experiment_id, lock=True)
        if experiment.state is not ExperimentState.RUNNING:
            return experiment.state
        confirmations = _move_searches(tx, experiment_id)
        networks = _load(tx, experiment_id)
        members = experiments.memberships(tx, experiment_id)
        _create_range_tests(tx, networks)
        _create_confirmations(tx, networks, confirmations)
        fits = _fits(tx, networks, members)
        if not all(row.state in SearchState.ended() for row in networks.searches.values()) or _pending(fits):
            return experiment.state
        tests = _tests(tx, networks, members)
        if _pending(tests):
            return experiment.state
        state = ExperimentState.FINISHED if TaskState.DONE in tests else ExperimentState.FAILED
        experiments.set_state(tx, experiment_id, state)
        tx.announce(experiment_id, str(state))
        return state


def _move_searches(tx: Transaction, experiment_id: UUID) -> list[Confirmation]:
    rows = searches.of_experiment(tx, experiment_id)
    links = [link for row in rows for link in (row.id, row.parent_id, row.earlier_id, *row.match_ids)]
    states = searches.states(tx, links)
    past = load_past(tx, rows)
    confirmations: list[Confirmation] = []
    # Those that a search waits for stand first: one pass carries a decision down to everything it opens.
    for row in rows:
        if row.state is SearchState.OPEN:
            states[row.id], lacking = decide_open_search(tx, row, past)
            confirmations += lacking
        elif row.state is SearchState.WAITING:
            state = opening(
                None if row.parent_id is None else states[row.parent_id],
                None if row.earlier_id is None else states[row.earlier_id],
                [states[match] for match in row.match_ids],
            )
            if _enter(tx, row, state):
                states[row.id] = state
                announce_on_search(tx, row.id, f"search-{state}")
    return confirmations


def _enter(tx: Transaction, search: SearchRow, state: SearchState) -> bool:
    match state:
        case SearchState.OPEN:
            spent = results.search_seconds(tx, search.match_ids).values()
            return searches.open_waiting(tx, search.id, sum(spent) if spent else None)
        case SearchState.DEAD:
            return searches.end(tx, search.id, state, only_from=SearchState.WAITING)
        case _:
            return False


def _load(tx: Transaction, experiment_id: UUID) -> _Networks:
    rows = {row.id: row for row in searches.of_experiment(tx, experiment_id)}
    trained = results.trainings(tx, rows)
    others = tasks.of_searches(tx, rows, (TaskKind.RANGE_TEST, TaskKind.FIT, TaskKind.EVALUATE))
    points = trials.points(tx, [row.incumbent_id for row in rows.values()])
    return _Networks(
        searches=rows,
        points={row.id: points[row.incumbent_id] for row in rows.values() if row.incumbent_id is not None},
        checkpoints={(item.search_id, item.seed): item.checkpoint for item in trained if item.checkpoint is not None},
        states={(task.kind, task.search_id, task.seed): task.state for task in others},
    )


def _create_range_tests(tx: Transaction, networks: _Networks) -> None:
    for search in networks.searches.values():
        if search.state is not SearchState.OPEN or not search.spec.search.range_test:
            continue
        prefix = networks.prefix(search, search.seed)
        if prefix is not None and (TaskKind.RANGE_TEST, search.id, search.seed) not in networks.states:
            work = range_test_work(search.spec, search.planned, prefix, search.space, search.seed)
            _create(tx, networks, TaskKind.RANGE_TEST, search, search.seed, work)


def _create_confirmations(tx: Transaction, networks: _Networks, wanted: Iterable[Confirmation]) -> None:
    """Train candidates again on the prefix of the search's own seed."""
    confirming: dict[UUID, list[int]] = {}
    for item in wanted:
        search, ordinal = networks.searches[item.search_id], item.candidate.ordinal
        prefix = networks.prefix(search, search.seed)
        assert prefix is not None, "an open search stands on decided ones"
        tasks.add(
            tx,
            task_id=uuid4(),
            kind=TaskKind.FIT,
            search=search.id,
            seed=item.seed,
            label=f"{search.name} trial {ordinal} seed {item.seed}",
            work=training_work(search.spec, search.planned, prefix, item.candidate.point, item.seed),
            candidate=item.candidate.id,
        )
        confirming.setdefault(search.id, []).append(ordinal)
    for identity, ordinals in confirming.items():
        announce_on_search(tx, identity, "search-confirming", ordinals=sorted(set(ordinals)))


def _fits(tx: Transaction, networks: _Networks, members: Iterable[Membership]) -> list[TaskState]:
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
                _create(tx, networks, TaskKind.FIT, search, seed, work)
            if key in networks.states:
                states.append(networks.states[key])
    return states


def _tests(tx: Transaction, networks: _Networks, members: Iterable[Membership]) -> list[TaskState]:
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
                _create(tx, networks, TaskKind.EVALUATE, search, seed, work)
            if key in networks.states:
                states.append(networks.states[key])
    return states


def _create(tx: Transaction, networks: _Networks, kind: TaskKind, search: SearchRow, seed: int, work: TaskWork) -> None:
    tasks.add(
        tx,
        task_id=uuid4(),
        kind=kind,
        search=search.id,
        seed=seed,
        label=f"{search.name} {kind} seed {seed}",
        work=work,
    )
    networks.states[kind, search.id, seed] = TaskState.READY


def _pending(states: list[TaskState]) -> bool:
    return any(state not in TaskState.ended() for state in states)
