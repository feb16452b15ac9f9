"""Another chance for failed tasks, where what they belong to can still use it."""

from collections.abc import Collection
from uuid import UUID

from service.storage.engine import Transaction
from service.storage.experiments import WANTS

# A search ``s`` that died of failures in a search of its own (what waited for it has never opened) may open again,
# unless the same has been searched anew since, or another search has gone on without it: with the seconds that it
# spent, more of which would break the comparison, or in a later phase without the incumbent that it would have now. A
# later phase that died as well is tried again beside it, with the points that it had.
REVIVABLE = """(
    s.state = 'dead' AND s.opened_at IS NOT NULL
    AND EXISTS (SELECT FROM trial WHERE search_id = s.id AND state = 'failed')
    AND NOT EXISTS (SELECT FROM search twin WHERE twin.key = s.key AND twin.state IN ('waiting', 'open', 'decided'))
    AND NOT EXISTS (SELECT FROM search total WHERE s.id = ANY(total.match_ids) AND total.opened_at IS NOT NULL)
    AND NOT EXISTS (SELECT FROM search later WHERE later.earlier_id = s.id AND later.state IN ('open', 'decided'))
)"""
# Trials and confirmations are of use until their search is decided, fits and evaluations once it is. A range test
# comes before the trials or never. An embedding is asked for anew.
USABLE = f"""CASE
    WHEN t.kind = 'trial' THEN s.state = 'open' OR {REVIVABLE}
    WHEN t.candidate_id IS NOT NULL THEN s.state = 'open'
    WHEN t.kind IN ('fit', 'evaluate') THEN s.state = 'decided'
    WHEN t.kind = 'range-test' THEN s.state = 'open' AND NOT EXISTS (SELECT FROM trial WHERE search_id = s.id)
    ELSE false
END"""
CHOSEN = f"""
    FROM experiment_search es
    JOIN experiment e ON e.id = es.experiment_id AND e.state <> 'cancelled'
    JOIN search s ON s.id = es.search_id
    JOIN task t ON t.search_id = s.id AND t.state = 'failed' AND {WANTS}
    WHERE es.experiment_id = :experiment AND {USABLE}
"""


def retryable(tx: Transaction, experiment: UUID) -> list[UUID]:
    """The failed tasks that would get another chance."""
    return list(tx.execute(f"SELECT t.id {CHOSEN}", {"experiment": experiment}).scalars())


def lock_sharers(tx: Transaction, experiment: UUID) -> None:
    """Keep every experiment on the searches of one, and those searches, as they are until the transaction ends.

    Whoever decides a search holds its experiment, and looked at its trials before that.
    """
    tx.execute(
        """
        SELECT FROM experiment WHERE id IN (
            SELECT other.experiment_id FROM experiment_search es
            JOIN experiment_search other ON other.search_id = es.search_id WHERE es.experiment_id = :experiment
        ) ORDER BY id FOR NO KEY UPDATE
        """,
        {"experiment": experiment},
    )
    tx.execute(
        """
        SELECT FROM search s JOIN experiment_search es ON es.search_id = s.id
        WHERE es.experiment_id = :experiment ORDER BY es.position FOR NO KEY UPDATE OF s
        """,
        {"experiment": experiment},
    )


def reopen_searches(tx: Transaction, tasks: Collection[UUID]) -> list[UUID]:
    """Open the dead searches of some failed tasks again, and let wait again what had died with them."""
    opened = list(
        tx.execute(
            """
            UPDATE search SET state = 'open', decided_at = NULL
            WHERE state = 'dead' AND id IN (SELECT search_id FROM task WHERE id = ANY(CAST(:tasks AS uuid[])))
            RETURNING id
            """,
            {"tasks": list(tasks)},
        ).scalars()
    )
    tx.execute(
        """
        WITH RECURSIVE down AS (
            SELECT id, key, state, opened_at FROM search WHERE parent_id = ANY(CAST(:opened AS uuid[]))
            UNION ALL
            SELECT s.id, s.key, s.state, s.opened_at FROM search s JOIN down ON s.parent_id = down.id
        )
        UPDATE search SET state = 'waiting', decided_at = NULL FROM down
        WHERE search.id = down.id AND down.state = 'dead' AND down.opened_at IS NULL
          AND NOT EXISTS (
              SELECT FROM search twin WHERE twin.key = down.key AND twin.state IN ('waiting', 'open', 'decided')
          )
        """,
        {"opened": opened},
    )
    return opened


def revive(tx: Transaction, tasks: Collection[UUID]) -> int:
    """Make failed tasks ready, without strikes, and their trials run; attempt numbers go on.

    What is progress is measured from where the next attempt begins: at the snapshot that is left, or at zero.
    """
    parameters = {"tasks": list(tasks)}
    tx.execute(
        """
        UPDATE trial SET state = 'running', failure = NULL, finished_at = NULL, projected = NULL, chance = chance + 1
        FROM task WHERE task.id = ANY(CAST(:tasks AS uuid[])) AND task.trial_id = trial.id AND trial.state = 'failed'
        """,
        parameters,
    )
    revived = list(
        tx.execute(
            """
        UPDATE task SET state = 'ready', strikes = 0, failure = NULL, finished_at = NULL, not_before = now()
        WHERE id = ANY(CAST(:tasks AS uuid[])) AND state = 'failed' RETURNING id
        """,
            parameters,
        ).scalars()
    )
    # A statement of its own: now that the tasks are held, it sees what a collection took until then.
    tx.execute(
        """
        UPDATE task SET progress = (SELECT s.fraction FROM snapshot s WHERE s.task_id = task.id)
        WHERE id = ANY(CAST(:tasks AS uuid[]))
        """,
        {"tasks": revived},
    )
    return len(revived)
