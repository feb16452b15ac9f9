"""Move an experiment on as far as its rows allow.

Everything is worked out from what is stored, so that a crash at any point is mended by doing it again.
"""

from dataclasses import dataclass
from uuid import UUID, uuid4

from service.domain.search import opening
from service.domain.space import Point
from service.domain.states import ExperimentState, SearchState, TaskKind, TaskState
from service.domain.work import TaskWork, evaluation_work, training_work
from service.storage import Storage, Transaction, experiments, results, searches, tasks, trials
from service.storage.searches import SearchRow
from service.usecases.decide_search import decide_open_search

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

    def of_kind(self, kind: TaskKind) -> list[TaskState]:
        return [state for (task_kind, _, _), state in self.states.items() if task_kind is kind]


def advance_experiment(store: Storage, experiment_id: UUID) -> ExperimentState:
    """Decide and open searches, create fits, then evaluations, and end the experiment after them; its state then."""
    with store.transaction() as tx:
        experiment = experiments.get(tx, experiment_id, lock=True)
        if experiment.state is not ExperimentState.RUNNING:
            return experiment.state
        _move_searches(tx, experiment_id)
        networks = _load(tx, experiment_id, experiment.spec.seeds[0])
        decided = [row for row in networks.searches.values() if row.state is SearchState.DECIDED]
        for row in decided:
            for seed in experiment.spec.seeds[1:]:
                _create_fit(tx, networks, row, seed)
        fits = networks.of_kind(TaskKind.FIT)
        if not all(row.state in SearchState.ended() for row in networks.searches.values()) or _pending(fits):
            return experiment.state
        leaves = {member.search_id for member in experiments.memberships(tx, experiment_id) if member.leaf}
        for row in decided:
            if row.id in leaves:
                for seed in experiment.spec.seeds:
                    _create_evaluation(tx, networks, row, seed)
        tests = [
            networks.states[key]
            for row in decided
            for seed in experiment.spec.seeds
            if row.id in leaves and (key := (TaskKind.EVALUATE, row.id, seed)) in networks.states
        ]
        if _pending(tests):
            return experiment.state
        state = ExperimentState.FINISHED if TaskState.DONE in tests else ExperimentState.FAILED
        experiments.set_state(tx, experiment_id, state)
        tx.announce(experiment_id, str(state))
        return state


def _move_searches(tx: Transaction, experiment_id: UUID) -> None:
    rows = searches.of_experiment(tx, experiment_id)
    states = searches.states(tx, [link for row in rows for link in (row.id, row.parent_id, row.earlier_id)])
    past = trials.of_searches(tx, [row.id for row in rows if row.state is SearchState.OPEN])
    # Parents and earlier searches stand first: one pass carries a decision down to everything it opens.
    for row in rows:
        if row.state is SearchState.OPEN:
            states[row.id] = decide_open_search(tx, row.id, row.budget, past.get(row.id, []))
        elif row.state is SearchState.WAITING:
            state = opening(
                None if row.parent_id is None else states[row.parent_id],
                None if row.earlier_id is None else states[row.earlier_id],
            )
            if state is not SearchState.WAITING and searches.enter(tx, row.id, state, only_from=SearchState.WAITING):
                states[row.id] = state
                for experiment in experiments.on_search(tx, row.id):
                    tx.announce(experiment, f"search-{state}", search=str(row.id))


def _load(tx: Transaction, experiment_id: UUID, first_seed: int) -> _Networks:
    rows = {row.id: row for row in searches.of_experiment(tx, experiment_id)}
    trained = results.trainings(tx, rows)
    others = tasks.of_searches(tx, rows, (TaskKind.FIT, TaskKind.EVALUATE))
    points = trials.points(tx, [row.incumbent_id for row in rows.values()])
    return _Networks(
        searches=rows,
        points={row.id: points[row.incumbent_id] for row in rows.values() if row.incumbent_id is not None},
        checkpoints={
            (item.search_id, first_seed if item.kind is TaskKind.TRIAL else item.seed): item.checkpoint
            for item in trained
            if item.checkpoint is not None
        },
        states={(task.kind, task.search_id, task.seed): task.state for task in others},
    )


def _create_fit(tx: Transaction, networks: _Networks, search: SearchRow, seed: int) -> None:
    prefix = networks.prefix(search, seed)
    if prefix is not None and (TaskKind.FIT, search.id, seed) not in networks.states:
        work = training_work(search.spec, search.planned, prefix, networks.points[search.id], seed)
        _create(tx, networks, TaskKind.FIT, search, seed, work)


def _create_evaluation(tx: Transaction, networks: _Networks, search: SearchRow, seed: int) -> None:
    prefix, checkpoint = networks.prefix(search, seed), networks.checkpoints.get((search.id, seed))
    known = (TaskKind.EVALUATE, search.id, seed) in networks.states
    if prefix is not None and checkpoint is not None and not known:
        work = evaluation_work(search.spec, search.planned, prefix, checkpoint, seed)
        _create(tx, networks, TaskKind.EVALUATE, search, seed, work)


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
