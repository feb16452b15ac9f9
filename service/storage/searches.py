"""Stage searches: one row for each node of the prefix trees, shared by the experiments that stand on it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

from service.domain.errors import NotFound
from service.domain.experiment import ExperimentSpec
from service.domain.plan import PlannedSearch
from service.domain.schemes import stage_space
from service.domain.space import Point, Space
from service.domain.states import SearchState
from service.storage.codec import decode, encode
from service.storage.engine import Transaction
from service.storage.results import SEARCH_SECONDS
from service.storage.tables import search
from service.storage.trials import point_of


@dataclass(frozen=True, slots=True)
class SearchRow:
    """A search as stored. ``spec`` has neither architectures nor variants; ``planned`` is the first submitter's.

    ``bounds`` is the space that a range test or a second round left; ``seconds`` are those it may spend, known once it
    is open, in place of ``budget`` trials.
    """

    id: UUID
    key: str
    name: str
    state: SearchState
    spec: ExperimentSpec
    planned: PlannedSearch
    seed: int
    budget: int
    round: int
    bounds: Space | None
    seconds: float | None
    match_ids: tuple[UUID, ...]
    parent_id: UUID | None
    earlier_id: UUID | None
    incumbent_id: UUID | None
    opened_at: datetime | None
    decided_at: datetime | None

    @property
    def space(self) -> Space:
        """In which it searches now."""
        return self.bounds or stage_space(self.spec.search, self.planned.stage)


@dataclass(frozen=True, slots=True)
class OpenRow:
    """An open search of a running experiment whose data set a live worker holds; what it may spend, what it has.

    Of several ``experiment`` is the one with the highest ``priority``, the oldest of equals.
    """

    id: UUID
    key: str
    asked: int
    finished: int
    budget: int
    seconds: float | None
    spent: float
    experiment: UUID
    priority: int


@dataclass(frozen=True, slots=True)
class Frozen:
    """A stage of a prefix: the incumbent's hyperparameters and checkpoint."""

    point: Point
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A search with its prefix, root first, and the incumbent of the phase before."""

    search: SearchRow
    prefix: tuple[Frozen, ...]
    earlier: Point | None


@dataclass(frozen=True, slots=True)
class Shareable:
    """A search that an experiment may share; ``stands_on``: its parent, the earlier search and its matches."""

    id: UUID
    name: str
    stands_on: tuple[UUID | None, ...]


@dataclass(frozen=True, slots=True)
class NewSearch:
    """A search about to be stored; ``name`` is its study's, which no other search has."""

    id: UUID
    name: str
    planned: PlannedSearch
    state: SearchState
    parent_id: UUID | None
    earlier_id: UUID | None
    match_ids: tuple[UUID, ...] = ()


def shareable(tx: Transaction, keys: Collection[str]) -> dict[str, Shareable]:
    """Searches with these keys that live or are decided, and those that died of what they found, by key.

    Those that were cancelled, infeasible or died of failures may end otherwise on another day and another machine.
    """
    rows = tx.execute(
        """
        WITH RECURSIVE barren AS (
            -- Searched to the end, and every training diverged or fell behind.
            SELECT id FROM search s
            WHERE key = ANY(:keys) AND state = 'dead' AND EXISTS (SELECT FROM trial WHERE search_id = s.id)
              AND NOT EXISTS (SELECT FROM trial WHERE search_id = s.id AND state NOT IN ('complete', 'pruned'))
            UNION
            -- What waited for it never ran, nor would it.
            SELECT s.id FROM barren JOIN search s ON s.parent_id = barren.id WHERE s.state = 'dead'
        )
        SELECT DISTINCT ON (key) key, id, name, parent_id, earlier_id, match_ids FROM search
        WHERE key = ANY(:keys) AND (state IN ('waiting', 'open', 'decided') OR id IN (SELECT id FROM barren))
        ORDER BY key, state = 'dead', created_at DESC
        """,
        {"keys": list(keys)},
    )
    return {row.key: Shareable(row.id, row.name, (row.parent_id, row.earlier_id, *row.match_ids)) for row in rows}


def add(tx: Transaction, spec: ExperimentSpec, new: Sequence[NewSearch]) -> None:
    """Insert searches, parents before children; ``spec`` is their experiment's without architectures and variants."""
    if not new:
        return
    document = encode(spec)
    tx.execute(
        insert(search),
        [
            {
                "id": item.id,
                "key": item.planned.key,
                "name": item.name,
                "state": item.state,
                "spec": document,
                "planned": encode(item.planned),
                "seed": item.planned.seed,
                "budget": item.planned.budget.trials,
                "dataset_digest": spec.dataset.digest,
                "parent_id": item.parent_id,
                "earlier_id": item.earlier_id,
                "match_ids": list(item.match_ids),
            }
            for item in new
        ],
    )


def get(tx: Transaction, search_id: UUID, *, lock: bool = False) -> SearchRow:
    """One search; with ``lock`` no one else decides it until the transaction ends."""
    suffix = " FOR NO KEY UPDATE" if lock else ""
    row = tx.execute(f"SELECT * FROM search WHERE id = :id{suffix}", {"id": search_id}).one_or_none()
    if row is None:
        raise NotFound(f"there is no search {search_id}")
    return _row(row)


def lock_of_task(tx: Transaction, task: UUID) -> None:
    """Lock a task's search and then the search's unfinished tasks, in the order in which everybody locks them."""
    own = "(SELECT search_id FROM task WHERE id = :task)"
    tx.execute(f"SELECT FROM search WHERE id = {own} FOR NO KEY UPDATE", {"task": task})
    tx.execute(
        f"SELECT FROM task WHERE search_id = {own} AND state IN ('ready', 'leased') ORDER BY id FOR NO KEY UPDATE",
        {"task": task},
    )


def of_experiment(tx: Transaction, experiment: UUID) -> list[SearchRow]:
    """The searches of an experiment in the order of its plan."""
    rows = tx.execute(
        "SELECT s.* FROM search s JOIN experiment_search es ON es.search_id = s.id"
        " WHERE es.experiment_id = :experiment ORDER BY es.position",
        {"experiment": experiment},
    )
    return [_row(row) for row in rows]


def states(tx: Transaction, ids: Collection[UUID]) -> dict[UUID, SearchState]:
    """The states of some searches."""
    rows = tx.execute("SELECT id, state FROM search WHERE id = ANY(CAST(:ids AS uuid[]))", {"ids": list(ids)})
    return {row.id: SearchState(row.state) for row in rows}


def generations(tx: Transaction, keys: Collection[str]) -> dict[str, int]:
    """How many searches there have been with each key, those that died or were cancelled included.

    The number in the last one's name counts as well: of those before it some may have been purged.
    """
    rows = tx.execute(
        r"""
        SELECT key, greatest(count(*), max(CAST(substring(name FROM ' \((\d{1,9})\)$') AS integer))) AS n
        FROM search WHERE key = ANY(:keys) GROUP BY key
        """,
        {"keys": list(keys)},
    )
    return {row.key: row.n for row in rows}


def standings(tx: Transaction, ids: Collection[UUID]) -> dict[UUID, Standing]:
    """What some searches stand on, all of them in three statements."""
    parameters = {"ids": list(ids)}
    rows = tx.execute("SELECT * FROM search WHERE id = ANY(CAST(:ids AS uuid[]))", parameters).all()
    earlier = {
        row.id: point_of(row)
        for row in tx.execute(
            """
            SELECT s.id, t.learning_rate, t.regularization, t.more FROM search s
            JOIN search before ON before.id = s.earlier_id JOIN trial t ON t.id = before.incumbent_id
            WHERE s.id = ANY(CAST(:ids AS uuid[]))
            """,
            parameters,
        )
    }
    prefixes: dict[UUID, list[Frozen]] = {row.id: [] for row in rows}
    frozen = tx.execute(
        """
        WITH RECURSIVE up AS (
            SELECT id AS origin, parent_id, 0 AS distance FROM search WHERE id = ANY(CAST(:ids AS uuid[]))
            UNION ALL
            SELECT up.origin, s.parent_id, up.distance + 1 FROM up JOIN search s ON s.id = up.parent_id
        )
        SELECT up.origin, t.learning_rate, t.regularization, t.more, r.checkpoint
        FROM up
        JOIN search s ON s.id = up.parent_id
        JOIN trial t ON t.id = s.incumbent_id
        JOIN task k ON k.trial_id = t.id
        JOIN result r ON r.task_id = k.id
        ORDER BY up.origin, up.distance DESC
        """,
        parameters,
    )
    for row in frozen:
        prefixes[row.origin].append(Frozen(point_of(row), row.checkpoint))
    return {row.id: Standing(_row(row), tuple(prefixes[row.id]), earlier.get(row.id)) for row in rows}


def open_waiting(tx: Transaction, seconds: Mapping[UUID, float | None]) -> set[UUID]:
    """Open searches, with the seconds they may spend if they have some in place of trials; those that did wait."""
    rows = tx.execute(
        """
        UPDATE search SET state = 'open', opened_at = now(), seconds = opened.seconds
        FROM unnest(CAST(:ids AS uuid[]), CAST(:seconds AS double precision[])) AS opened (id, seconds)
        WHERE search.id = opened.id AND search.state = 'waiting' RETURNING search.id
        """,
        {"ids": list(seconds), "seconds": list(seconds.values())},
    )
    return set(rows.scalars())


def kill_waiting(tx: Transaction, ids: Collection[UUID]) -> set[UUID]:
    """End searches that have nothing to stand on; those that did wait."""
    rows = tx.execute(
        """
        UPDATE search SET state = 'dead', decided_at = now()
        WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'waiting' RETURNING id
        """,
        {"ids": list(ids)},
    )
    return set(rows.scalars())


def end(tx: Transaction, search_id: UUID, state: SearchState, incumbent: UUID | None = None) -> bool:
    """Decide an open search or end it without an incumbent; False when it has moved already."""
    changed = tx.execute(
        """
        UPDATE search SET state = :state, incumbent_id = :incumbent, decided_at = now()
        WHERE id = :id AND state = 'open'
        """,
        {"id": search_id, "state": state, "incumbent": incumbent},
    )
    return changed.rowcount == 1


def bound(tx: Transaction, search_id: UUID, space: Space) -> None:
    """Search in another space from now on."""
    tx.execute(update(search).where(search.c.id == search_id).values(space=encode(space)))


def begin_second_round(tx: Transaction, search_id: UUID, trials: int, space: Space) -> bool:
    """Give an open search further trials in another space; False when it has had its second round."""
    first = (search.c.id == search_id) & (search.c.state == SearchState.OPEN) & (search.c.round == 1)
    changed = tx.execute(
        update(search).where(first).values(round=2, budget=search.c.budget + trials, space=encode(space))
    )
    return changed.rowcount == 1


def kill_descendants(tx: Transaction, search_id: UUID) -> list[UUID]:
    """End everything that waits for a search without incumbent, in whatever experiment; what died with it."""
    rows = tx.execute(
        """
        WITH RECURSIVE down AS (
            SELECT id FROM search WHERE parent_id = :id
            UNION ALL
            SELECT s.id FROM search s JOIN down ON s.parent_id = down.id
        )
        UPDATE search SET state = 'dead', decided_at = now() FROM down
        WHERE search.id = down.id AND search.state = 'waiting' RETURNING search.id
        """,
        {"id": search_id},
    )
    return list(rows.scalars())


def wanting_trials(tx: Transaction, alive_seconds: float) -> list[OpenRow]:
    """Open searches of running experiments that need no range test any more and whose data a live worker holds.

    Those that opened first stand first.
    """
    rows = tx.execute(
        f"""
        SELECT s.id, s.key, counts.asked, counts.finished, s.budget, s.seconds, {SEARCH_SECONDS} AS spent,
               first.id AS experiment, first.priority
        FROM search s
        CROSS JOIN LATERAL (
            SELECT e.id, e.priority FROM experiment_search es JOIN experiment e ON e.id = es.experiment_id
            WHERE es.search_id = s.id AND e.state = 'running' ORDER BY e.priority DESC, e.created_at, e.id LIMIT 1
        ) first
        CROSS JOIN LATERAL (
            SELECT count(*) AS asked, count(*) FILTER (WHERE state <> 'running') AS finished
            FROM trial WHERE search_id = s.id
        ) counts
        WHERE s.state = 'open'
          AND (s.spec #> '{{search,range_test}}' IS DISTINCT FROM 'true' OR EXISTS (
              SELECT FROM task WHERE search_id = s.id AND kind = 'range-test' AND state IN ('done', 'failed')
          ))
          AND EXISTS (
              SELECT FROM worker_dataset d JOIN worker w ON w.id = d.worker_id
              WHERE d.digest = s.dataset_digest AND w.departed_at IS NULL AND w.draining_at IS NULL
                AND w.last_seen_at > now() - make_interval(secs => :alive)
          )
        ORDER BY s.opened_at, s.id
        """,
        {"alive": alive_seconds},
    )
    return [
        OpenRow(
            id=row.id,
            key=row.key,
            asked=row.asked,
            finished=row.finished,
            budget=row.budget,
            seconds=row.seconds,
            spent=float(row.spent),
            experiment=row.experiment,
            priority=row.priority,
        )
        for row in rows
    ]


def _row(row: Any) -> SearchRow:
    return SearchRow(
        id=row.id,
        key=row.key,
        name=row.name,
        state=SearchState(row.state),
        spec=decode(ExperimentSpec, row.spec),
        planned=decode(PlannedSearch, row.planned),
        seed=row.seed,
        budget=row.budget,
        round=row.round,
        bounds=None if row.space is None else decode(Space, row.space),
        seconds=row.seconds,
        match_ids=tuple(row.match_ids),
        parent_id=row.parent_id,
        earlier_id=row.earlier_id,
        incumbent_id=row.incumbent_id,
        opened_at=row.opened_at,
        decided_at=row.decided_at,
    )
