"""Trials of stage searches."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert

from service.domain.projection import ProjectedTrial
from service.domain.pruning import MeasuredTrial, PruningBrief
from service.domain.search import TrialSummary
from service.domain.space import PastTrial, Point, Suggestion
from service.domain.states import Pruner, TrialOrigin, TrialState
from service.domain.views import TrialView
from service.storage.engine import Transaction
from service.storage.tables import trial


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A trial as stored; ``value`` is None while it runs, when it failed and when it was cancelled."""

    id: UUID
    search_id: UUID
    ordinal: int
    point: Point
    origin: TrialOrigin
    state: TrialState
    value: float | None
    diverged: bool
    suggested_at: datetime
    finished_at: datetime | None
    chance: int = 0

    def summary(self) -> TrialSummary:
        return TrialSummary(self.ordinal, self.state, self.value, self.diverged)


def add(tx: Transaction, search: UUID, first: int, suggested: Mapping[UUID, Suggestion]) -> bool:
    """Insert suggested trials by id, with ordinals from ``first`` on; False when others have been suggested meanwhile.

    The search has to be locked.
    """
    if count(tx, search) != first:
        return False
    tx.execute(
        insert(trial),
        [
            {
                "id": trial_id,
                "search_id": search,
                "ordinal": ordinal,
                "learning_rate": suggestion.point.learning_rate,
                "regularization": suggestion.point.regularization,
                "more": suggestion.point.more,
                "origin": suggestion.origin,
                "state": TrialState.RUNNING,
            }
            for ordinal, (trial_id, suggestion) in enumerate(suggested.items(), first)
        ],
    )
    return True


def count(tx: Transaction, search: UUID) -> int:
    """How many trials a search has; the ordinal of its next one."""
    return int(tx.execute("SELECT count(*) FROM trial WHERE search_id = :search", {"search": search}).scalar_one())


def past(tx: Transaction, search: UUID) -> tuple[PastTrial, ...]:
    """All trials of a search by ordinal, as a sampler sees them."""
    rows = tx.execute(
        "SELECT ordinal, learning_rate, regularization, more, origin, state, value"
        " FROM trial WHERE search_id = :search ORDER BY ordinal",
        {"search": search},
    )
    return tuple(
        PastTrial(row.ordinal, point_of(row), TrialOrigin(row.origin), TrialState(row.state), row.value) for row in rows
    )


def of_search(tx: Transaction, search: UUID) -> list[TrialRow]:
    """All trials of a search by ordinal."""
    return of_searches(tx, [search]).get(search, [])


def still_running(tx: Transaction, searches: Collection[UUID]) -> set[UUID]:
    """Which of some searches have a trial that has not finished."""
    found = tx.execute(
        "SELECT DISTINCT search_id FROM trial WHERE search_id = ANY(CAST(:searches AS uuid[])) AND state = 'running'",
        {"searches": list(searches)},
    )
    return set(found.scalars())


def of_searches(tx: Transaction, searches: Collection[UUID]) -> dict[UUID, list[TrialRow]]:
    """All trials of several searches by ordinal."""
    rows = tx.execute(
        "SELECT * FROM trial WHERE search_id = ANY(CAST(:searches AS uuid[])) ORDER BY search_id, ordinal",
        {"searches": list(searches)},
    )
    found: dict[UUID, list[TrialRow]] = defaultdict(list)
    for row in rows:
        found[row.search_id].append(
            TrialRow(
                id=row.id,
                search_id=row.search_id,
                ordinal=row.ordinal,
                point=point_of(row),
                origin=TrialOrigin(row.origin),
                state=TrialState(row.state),
                value=row.value,
                diverged=row.diverged,
                suggested_at=row.suggested_at,
                finished_at=row.finished_at,
                chance=row.chance,
            )
        )
    return found


def points(tx: Transaction, ids: Iterable[UUID | None]) -> dict[UUID, Point]:
    """The hyperparameters of some trials."""
    rows = tx.execute(
        "SELECT id, learning_rate, regularization, more FROM trial WHERE id = ANY(CAST(:ids AS uuid[]))",
        {"ids": [one for one in ids if one is not None]},
    )
    return {row.id: point_of(row) for row in rows}


def point_of(row: Any) -> Point:
    """The hyperparameters in a row with a trial's columns."""
    return Point(row.learning_rate, row.regularization, tuple((name, float(value)) for name, value in row.more))


def finish(
    tx: Transaction,
    trial_id: UUID,
    state: TrialState,
    *,
    value: float | None = None,
    diverged: bool = False,
    failure: str | None = None,
) -> None:
    """End a running trial; one that has ended stays as it is."""
    tx.execute(
        """
        UPDATE trial SET state = :state, value = :value, diverged = :diverged, failure = :failure, finished_at = now()
        WHERE id = :id AND state = 'running'
        """,
        {"id": trial_id, "state": state, "value": value, "diverged": diverged, "failure": failure},
    )


def unprojected(tx: Transaction, limit: int, but: Collection[UUID] = ()) -> list[UUID]:
    """Searches that Optuna's tables do not show, or a trial of theirs not in its present state; without some."""
    return list(
        tx.execute(
            """
            SELECT search_id FROM trial
            WHERE projected IS DISTINCT FROM state AND search_id <> ALL(CAST(:but AS uuid[]))
            UNION SELECT id FROM search WHERE NOT projected AND id <> ALL(CAST(:but AS uuid[])) LIMIT :limit
            """,
            {"limit": limit, "but": list(but)},
        ).scalars()
    )


def for_projection(tx: Transaction, search: UUID) -> list[ProjectedTrial]:
    """The trials of a search with the measurements of their last attempt."""
    curves = {
        row.trial_id: tuple((int(step), float(value)) for step, value in row.curve)
        for row in tx.execute(
            """
            SELECT t.trial_id, jsonb_agg(jsonb_build_array(r.step, r.value) ORDER BY r.step) AS curve
            FROM task t JOIN report r ON r.task_id = t.id AND r.attempt = t.attempt
            WHERE t.search_id = :search AND t.kind = 'trial' GROUP BY t.trial_id
            """,
            {"search": search},
        )
    }
    return [
        ProjectedTrial(
            id=str(row.id),
            ordinal=row.ordinal,
            point=row.point,
            origin=row.origin,
            state=row.state,
            value=row.value,
            reports=curves.get(row.id, ()),
            diverged=row.diverged,
            suggested_at=row.suggested_at,
            finished_at=row.finished_at,
            chance=row.chance,
        )
        for row in of_search(tx, search)
    ]


def judged(tx: Transaction, task: UUID) -> tuple[UUID, int, PruningBrief] | None:
    """Which search and ordinal a task's trial has, and what prunes it; None when nothing does."""
    row = tx.execute(
        """
        SELECT s.id, coalesce(s.planned ->> 'draws', s.key) AS key, s.spec #>> '{search,pruner}' AS pruner, tr.ordinal
        FROM task t JOIN trial tr ON tr.id = t.trial_id JOIN search s ON s.id = t.search_id
        WHERE t.id = :task AND s.spec #>> '{search,pruner}' <> 'none'
        """,
        {"task": task},
    ).one_or_none()
    return None if row is None else (row.id, row.ordinal, PruningBrief(row.key, Pruner(row.pruner)))


def measured(tx: Transaction, search: UUID) -> dict[int, MeasuredTrial]:
    """The trials of a search by ordinal, with what was measured at each step by the last attempt that came to it."""
    rows = tx.execute(
        """
        SELECT tr.ordinal, tr.origin, tr.state, coalesce(curve.points, '[]') AS curve
        FROM trial tr
        LEFT JOIN LATERAL (
            SELECT jsonb_agg(jsonb_build_array(step, value)) AS points FROM (
                SELECT DISTINCT ON (r.step) r.step, r.value FROM task t JOIN report r ON r.task_id = t.id
                WHERE t.trial_id = tr.id ORDER BY r.step, r.attempt DESC
            ) last
        ) curve ON true
        WHERE tr.search_id = :search
        """,
        {"search": search},
    )
    return {
        row.ordinal: MeasuredTrial(
            ordinal=row.ordinal,
            origin=TrialOrigin(row.origin),
            state=TrialState(row.state),
            reports=tuple((int(step), float(value)) for step, value in row.curve),
        )
        for row in rows
    }


def mark_projected(tx: Transaction, search: UUID, shown: Collection[ProjectedTrial]) -> None:
    """Remember that a search was shown, and its trials' states; one that has moved on since is shown again.

    So is one that was given another chance meanwhile, even if that has ended like the one before.
    """
    tx.execute("UPDATE search SET projected = true WHERE id = :search AND NOT projected", {"search": search})
    tx.execute(
        """
        UPDATE trial SET projected = shown.state
        FROM unnest(CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:chances AS integer[]))
             AS shown (id, state, chance)
        WHERE trial.id = shown.id AND trial.chance = shown.chance AND trial.projected IS DISTINCT FROM shown.state
        """,
        {
            "ids": [UUID(item.id) for item in shown],
            "states": [str(item.state) for item in shown],
            "chances": [item.chance for item in shown],
        },
    )


def views(tx: Transaction, search: UUID) -> tuple[TrialView, ...]:
    """The trials of a search with their last attempt, its worker, its measurements and its result."""
    rows = tx.execute(
        """
        SELECT tr.*, t.attempt, w.name AS worker, r.validation_accuracy, r.training_accuracy, r.training_seconds,
               coalesce(curve.points, '[]') AS curve
        FROM trial tr
        LEFT JOIN task t ON t.trial_id = tr.id
        LEFT JOIN attempt a ON a.task_id = t.id AND a.n = t.attempt
        LEFT JOIN worker w ON w.id = a.worker_id
        LEFT JOIN result r ON r.task_id = t.id
        LEFT JOIN LATERAL (
            SELECT jsonb_agg(jsonb_build_array(epoch, value) ORDER BY step) AS points
            FROM report WHERE task_id = t.id AND attempt = t.attempt
        ) curve ON true
        WHERE tr.search_id = :search ORDER BY tr.ordinal
        """,
        {"search": search},
    )
    return tuple(
        TrialView(
            id=row.id,
            ordinal=row.ordinal,
            origin=row.origin,
            state=row.state,
            hyperparameters=point_of(row),
            validation_accuracy=row.validation_accuracy,
            training_accuracy=row.training_accuracy,
            diverged=row.diverged,
            attempt=row.attempt or 0,
            worker=row.worker,
            training_seconds=row.training_seconds,
            reports=tuple((float(epoch), float(value)) for epoch, value in row.curve),
            failure=row.failure,
        )
        for row in rows
    )
