"""Experiments and which searches they stand on."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from service.domain.errors import NotFound
from service.domain.experiment import ExperimentSpec
from service.domain.plan import Plan
from service.domain.states import ExperimentState
from service.domain.views import ExperimentSummary
from service.storage.codec import decode, encode
from service.storage.engine import Transaction
from service.storage.tables import experiment, experiment_search, experiment_turn

# Which tasks an experiment wants of a search through ``es``. Trials, range tests and confirmations belong to the
# search; fits, embeddings and evaluations only to the experiments with that seed and, for evaluations, with a variant
# that ends there.
WANTS = """(t.kind IN ('trial', 'range-test') OR t.candidate_id IS NOT NULL
            OR (t.seed = ANY(es.seeds) AND (t.kind <> 'evaluate' OR es.leaf)))"""
# For which experiments ``e`` a task is leased and goes on, and for which it is kept. An embedding may be asked for when
# its experiment has ended.
SERVED = "(e.state = 'running' OR (t.kind = 'embed' AND e.state IN ('finished', 'failed')))"
KEPT = "(e.state IN ('running', 'paused') OR (t.kind = 'embed' AND e.state IN ('finished', 'failed')))"


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """An experiment as stored."""

    id: UUID
    name: str
    state: ExperimentState
    submission: dict[str, Any]
    spec: ExperimentSpec
    plan: Plan
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Membership:
    """A search inside an experiment; ``seeds`` are its own and those that its incumbent is fitted with.

    ``reused``: the search was there before the experiment, decided or still under way.
    """

    search_id: UUID
    position: int
    name: str
    phase: int
    used_by: tuple[str, ...]
    leaf: bool
    seeds: tuple[int, ...]
    reused: bool


def add(
    tx: Transaction,
    *,
    experiment_id: UUID,
    submission: dict[str, Any],
    spec: ExperimentSpec,
    plan: Plan,
    body_digest: str,
    key: str | None,
) -> None:
    """Insert a running experiment."""
    tx.execute(
        insert(experiment),
        {
            "id": experiment_id,
            "name": spec.name,
            "state": ExperimentState.RUNNING,
            "submission": submission,
            "spec": encode(spec),
            "plan": encode(plan),
            "priority": spec.priority,
            "idempotency_key": key,
            "body_digest": body_digest,
        },
    )
    tx.execute(insert(experiment_turn), {"experiment_id": experiment_id})


def lock_key(tx: Transaction, key: str) -> tuple[UUID, str] | None:
    """Take an idempotency key until the transaction ends; id and body digest of the experiment that has it already."""
    tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('stagetune:submit:' || :key, 0))", {"key": key})
    row = tx.execute("SELECT id, body_digest FROM experiment WHERE idempotency_key = :key", {"key": key}).one_or_none()
    return None if row is None else (row.id, row.body_digest)


def attach(tx: Transaction, experiment_id: UUID, members: Iterable[Membership]) -> None:
    """Let an experiment stand on searches."""
    tx.execute(
        insert(experiment_search),
        [
            {
                "experiment_id": experiment_id,
                "search_id": member.search_id,
                "position": member.position,
                "name": member.name,
                "phase": member.phase,
                "used_by": list(member.used_by),
                "leaf": member.leaf,
                "seeds": list(member.seeds),
                "reused": member.reused,
            }
            for member in members
        ],
    )


def get(tx: Transaction, experiment_id: UUID, *, lock: bool = False) -> ExperimentRow:
    """One experiment; with ``lock`` no one else changes its state until the transaction ends."""
    suffix = " FOR NO KEY UPDATE" if lock else ""
    row = tx.execute(f"SELECT * FROM experiment WHERE id = :id{suffix}", {"id": experiment_id}).one_or_none()
    if row is None:
        raise NotFound(f"there is no experiment {experiment_id}")
    return ExperimentRow(
        id=row.id,
        name=row.name,
        state=ExperimentState(row.state),
        submission=row.submission,
        spec=decode(ExperimentSpec, row.spec),
        plan=decode(Plan, row.plan),
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def memberships(tx: Transaction, experiment_id: UUID) -> list[Membership]:
    """The experiment's searches in the order of its plan."""
    rows = tx.execute(
        "SELECT * FROM experiment_search WHERE experiment_id = :id ORDER BY position", {"id": experiment_id}
    )
    return [
        Membership(
            search_id=row.search_id,
            position=row.position,
            name=row.name,
            phase=row.phase,
            used_by=tuple(row.used_by),
            leaf=row.leaf,
            seeds=tuple(row.seeds),
            reused=row.reused,
        )
        for row in rows
    ]


def sharers(tx: Transaction, experiment_id: UUID) -> dict[UUID, str]:
    """Of the experiment's searches that were there before it, the names of the experiments that brought them."""
    rows = tx.execute(
        """
        SELECT es.search_id, o.name FROM experiment_search es
        JOIN experiment_search f ON f.search_id = es.search_id AND NOT f.reused
        JOIN experiment o ON o.id = f.experiment_id
        WHERE es.experiment_id = :id AND es.reused
        """,
        {"id": experiment_id},
    )
    return {row.search_id: row.name for row in rows}


def set_state(tx: Transaction, experiment_id: UUID, state: ExperimentState) -> None:
    """Change the state, with the time of the end where it is one."""
    tx.execute(
        "UPDATE experiment SET state = :state, finished_at = CASE WHEN :ended THEN now() END WHERE id = :id",
        {"id": experiment_id, "state": state, "ended": state in ExperimentState.ended()},
    )


def lock_membership(tx: Transaction) -> None:
    """One transaction at a time may attach experiments to searches or cancel what nobody is attached to."""
    tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('stagetune:membership', 0))")


def count_open(tx: Transaction) -> int:
    """Experiments that have not ended."""
    count: int = tx.execute("SELECT count(*) FROM experiment WHERE state IN ('running', 'paused')").scalar_one()
    return count


def running(tx: Transaction) -> list[UUID]:
    """Experiments that may move on, oldest first."""
    return list(tx.execute("SELECT id FROM experiment WHERE state = 'running' ORDER BY created_at, id").scalars())


def on_searches(tx: Transaction, searches: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """Live experiments that stand on some searches, by search and in a fixed order."""
    rows = tx.execute(
        """
        SELECT es.search_id, e.id FROM experiment e JOIN experiment_search es ON es.experiment_id = e.id
        WHERE es.search_id = ANY(CAST(:searches AS uuid[])) AND e.state IN ('running', 'paused') ORDER BY e.id
        """,
        {"searches": list(searches)},
    )
    found: dict[UUID, list[UUID]] = defaultdict(list)
    for row in rows:
        found[row.search_id].append(row.id)
    return found


def page(
    tx: Transaction, limit: int, before: tuple[datetime, UUID] | None, state: ExperimentState | None
) -> list[ExperimentSummary]:
    """Experiments, newest first, older than the one named by ``before``."""
    return _summaries(
        tx,
        """
        SELECT * FROM experiment
        WHERE (CAST(:state AS text) IS NULL OR state = :state)
          AND (CAST(:created_at AS timestamptz) IS NULL OR (created_at, id) < (:created_at, CAST(:id AS uuid)))
        ORDER BY created_at DESC, id DESC LIMIT :limit
        """,
        {"limit": limit, "state": state, "created_at": before and before[0], "id": before and before[1]},
    )


def summary(tx: Transaction, experiment_id: UUID) -> ExperimentSummary:
    """The list's line of one experiment."""
    for row in _summaries(tx, "SELECT * FROM experiment WHERE id = :id", {"id": experiment_id}):
        return row
    raise NotFound(f"there is no experiment {experiment_id}")


def _summaries(tx: Transaction, chosen: str, parameters: dict[str, object]) -> list[ExperimentSummary]:
    rows = tx.execute(
        f"""
        SELECT e.id, e.name, e.spec #>> '{{dataset,name}}' AS dataset, e.state, e.created_at, e.finished_at,
               jsonb_array_length(e.spec -> 'variants') AS variants, counts.*
        FROM ({chosen}) e
        CROSS JOIN LATERAL (
            SELECT count(*) AS searches, count(*) FILTER (WHERE s.state = 'decided') AS searches_decided,
                   coalesce(sum(
                       CASE WHEN s.match_ids = '{{}}' AND s.state NOT IN ('dead', 'infeasible') THEN s.budget
                            ELSE done.asked END
                   ), 0) AS trials,
                   coalesce(sum(done.trials), 0) AS trials_finished
            FROM experiment_search es
            JOIN search s ON s.id = es.search_id
            CROSS JOIN LATERAL (
                SELECT count(*) AS asked, count(*) FILTER (WHERE state <> 'running') AS trials
                FROM trial WHERE search_id = s.id
            ) done
            WHERE es.experiment_id = e.id
        ) counts
        ORDER BY e.created_at DESC, e.id DESC
        """,
        parameters,
    )
    return [_summary(row) for row in rows]


def _summary(row: Any) -> ExperimentSummary:
    return ExperimentSummary(
        id=row.id,
        name=row.name,
        dataset=row.dataset,
        state=ExperimentState(row.state),
        created_at=row.created_at,
        finished_at=row.finished_at,
        variants=row.variants,
        searches=row.searches,
        searches_decided=row.searches_decided,
        trials=int(row.trials),
        trials_finished=int(row.trials_finished),
    )
