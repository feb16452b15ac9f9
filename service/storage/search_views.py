"""Searches as people see them: counted in the database, one statement for all of an experiment's."""

from typing import Any
from uuid import UUID

from service.domain.errors import NotFound
from service.domain.notation import write
from service.domain.plan import PlannedSearch
from service.domain.search import taken_over
from service.domain.views import SearchView
from service.storage.codec import decode
from service.storage.engine import Transaction
from service.storage.trials import point_of

VIEW = """
SELECT s.id, s.state, s.planned, s.parent_id, es.name, es.phase, es.used_by, counts.*,
       es.reused AS found, s.decided_at, e.created_at AS submitted_at, brought.name AS brought_by,
       -- What a search may spend in seconds is no number of trials that it still lacks.
       CASE WHEN s.match_ids = '{}' THEN s.budget ELSE counts.finished + counts.running END AS budget,
       best.learning_rate, best.regularization, best.more
FROM experiment_search es
JOIN experiment e ON e.id = es.experiment_id
JOIN search s ON s.id = es.search_id
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state <> 'running') AS finished, count(*) FILTER (WHERE state = 'running') AS running,
           count(*) FILTER (WHERE state = 'failed') AS failed,
           max(value) FILTER (WHERE state = 'complete' AND NOT diverged) AS best_accuracy
    FROM trial WHERE search_id = s.id
) counts
LEFT JOIN trial best ON best.id = s.incumbent_id
LEFT JOIN LATERAL (
    SELECT o.name FROM experiment_search f JOIN experiment o ON o.id = f.experiment_id
    WHERE f.search_id = s.id AND NOT f.reused LIMIT 1
) brought ON es.reused
"""


def of_experiment(tx: Transaction, experiment_id: UUID) -> tuple[SearchView, ...]:
    """The searches of an experiment in the order of its plan."""
    rows = tx.execute(f"{VIEW} WHERE es.experiment_id = :id ORDER BY es.position", {"id": experiment_id})
    return tuple(_view(row) for row in rows)


def get(tx: Transaction, search_id: UUID) -> SearchView:
    """One search as the newest experiment on it has it."""
    row = tx.execute(f"{VIEW} WHERE s.id = :id ORDER BY e.created_at DESC LIMIT 1", {"id": search_id}).one_or_none()
    if row is None:
        raise NotFound(f"there is no search {search_id}")
    return _view(row)


def _view(row: Any) -> SearchView:
    planned = decode(PlannedSearch, row.planned)
    reused = taken_over(row.found, row.decided_at, row.submitted_at)
    return SearchView(
        id=row.id,
        name=row.name,
        stage=write(planned.stage.layers),
        phase=row.phase,
        depth=planned.depth,
        state=row.state,
        parent=row.parent_id,
        used_by=tuple(row.used_by),
        epochs=planned.budget.epochs,
        trials=row.budget,
        finished=row.finished,
        running=row.running,
        failed=row.failed,
        best_accuracy=row.best_accuracy,
        incumbent=None if row.learning_rate is None else point_of(row),
        reused=reused,
        shared_with=None if reused else row.brought_by,
    )
