"""What there is of searches that a submission would share."""

from collections.abc import Collection
from uuid import UUID

from service.domain.remaining import Existing
from service.domain.states import SearchState
from service.storage.engine import Transaction


def of_searches(tx: Transaction, searches: Collection[UUID]) -> dict[UUID, Existing]:
    """The state of some searches, and which of their tasks have ended for good, in one statement."""
    rows = tx.execute(
        """
        SELECT s.id, s.state, (SELECT count(*) FROM trial WHERE search_id = s.id AND state <> 'running') AS trials,
               done.*
        FROM search s
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE t.kind = 'range-test') AS range_tests,
                   count(*) FILTER (WHERE t.candidate_id IS NOT NULL) AS confirmations,
                   array_agg(t.seed) FILTER (WHERE t.kind = 'fit' AND t.candidate_id IS NULL) AS fitted,
                   array_agg(t.seed) FILTER (
                       WHERE t.kind = 'fit' AND t.candidate_id IS NULL AND r.outcome IS DISTINCT FROM 'complete'
                   ) AS lost,
                   array_agg(t.seed) FILTER (WHERE t.kind = 'evaluate') AS evaluated
            FROM task t LEFT JOIN result r ON r.task_id = t.id
            WHERE t.search_id = s.id AND t.kind <> 'trial' AND t.state IN ('done', 'failed')
        ) done
        WHERE s.id = ANY(CAST(:searches AS uuid[]))
        """,
        {"searches": list(searches)},
    )
    return {
        row.id: Existing(
            state=SearchState(row.state),
            trials=row.trials,
            range_tests=row.range_tests,
            confirmations=row.confirmations,
            fitted=frozenset(row.fitted or ()),
            lost=frozenset(row.lost or ()),
            evaluated=frozenset(row.evaluated or ()),
        )
        for row in rows
    }
