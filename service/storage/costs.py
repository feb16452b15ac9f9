"""What searches cost: the seconds of all attempts of their trials, and of the trainings around them."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service.domain.findings import Tried
from service.domain.states import TaskKind, TrialOrigin, TrialState
from service.storage.engine import Transaction
from service.storage.results import SPENT
from service.storage.trials import point_of


@dataclass(frozen=True, slots=True)
class TriedRow:
    """A trial with its cost, and whether its search has chosen it."""

    search_id: UUID
    chosen: bool
    tried: Tried


@dataclass(frozen=True, slots=True)
class OtherCost:
    """Seconds of all attempts of a task that is no trial; ``confirms``: a fit that confirms a trial."""

    search_id: UUID
    kind: TaskKind
    seed: int
    confirms: bool
    seconds: float
    finished_at: datetime | None


def tried(tx: Transaction, searches: Collection[UUID]) -> dict[UUID, list[TriedRow]]:
    """The trials of some searches with what they cost, in the order of suggestion."""
    rows = tx.execute(
        f"""
        SELECT tr.*, coalesce(tr.id = s.incumbent_id, false) AS chosen, spent.seconds
        FROM trial tr
        JOIN search s ON s.id = tr.search_id
        LEFT JOIN task t ON t.trial_id = tr.id
        CROSS JOIN LATERAL (SELECT {SPENT} AS seconds FROM attempt a WHERE a.task_id = t.id) spent
        WHERE tr.search_id = ANY(CAST(:searches AS uuid[])) ORDER BY tr.search_id, tr.ordinal
        """,
        {"searches": list(searches)},
    )
    found: dict[UUID, list[TriedRow]] = defaultdict(list)
    for row in rows:
        trial = Tried(
            point=point_of(row),
            origin=TrialOrigin(row.origin),
            state=TrialState(row.state),
            value=row.value,
            diverged=row.diverged,
            seconds=row.seconds,
            failure=row.failure,
        )
        found[row.search_id].append(TriedRow(row.search_id, row.chosen, trial))
    return found


def others(tx: Transaction, searches: Collection[UUID]) -> list[OtherCost]:
    """What range tests and fits of some searches cost."""
    rows = tx.execute(
        f"""
        SELECT t.search_id, t.kind, t.seed, t.candidate_id IS NOT NULL AS confirms, t.finished_at,
               {SPENT} AS seconds
        FROM task t JOIN attempt a ON a.task_id = t.id
        WHERE t.search_id = ANY(CAST(:searches AS uuid[])) AND t.kind IN ('fit', 'range-test')
        GROUP BY t.id
        """,
        {"searches": list(searches)},
    )
    return [
        OtherCost(row.search_id, TaskKind(row.kind), row.seed, row.confirms, row.seconds, row.finished_at)
        for row in rows
    ]
