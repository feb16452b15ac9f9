"""What ends with an experiment or a search that nobody wants any more: searches, their trials and their tasks."""

from uuid import UUID

from service.storage.engine import Transaction
from service.storage.experiments import KEPT, WANTS


def cancel_searches(tx: Transaction, experiment: UUID) -> None:
    """Cancel the unfinished searches of an ended experiment that no live one stands on."""
    tx.execute(
        """
        WITH unwanted AS (
            -- Parents first, as everybody else locks them.
            SELECT s.id FROM search s JOIN experiment_search es ON es.search_id = s.id
            WHERE es.experiment_id = :experiment AND s.state IN ('waiting', 'open')
              AND NOT EXISTS (
                  SELECT FROM experiment_search other JOIN experiment e ON e.id = other.experiment_id
                  WHERE other.search_id = s.id AND e.state IN ('running', 'paused')
              )
            ORDER BY es.position FOR NO KEY UPDATE OF s
        )
        UPDATE search SET state = 'cancelled' FROM unwanted WHERE search.id = unwanted.id
        """,
        {"experiment": experiment},
    )


def cancel_tasks(tx: Transaction, experiment: UUID) -> None:
    """Cancel the unfinished tasks of a cancelled experiment that no other wants."""
    _cancel_tasks(
        tx,
        f"""
        SELECT t.id FROM task t JOIN experiment_search own ON own.search_id = t.search_id
        WHERE own.experiment_id = :experiment AND t.state IN ('ready', 'leased')
          AND NOT EXISTS (
              SELECT FROM experiment_search es JOIN experiment e ON e.id = es.experiment_id
              WHERE es.search_id = t.search_id AND {KEPT} AND {WANTS}
          )
        ORDER BY t.id FOR NO KEY UPDATE OF t
        """,
        experiment=experiment,
    )


def cancel_trials(tx: Transaction, experiment: UUID) -> None:
    """Cancel running trials of the experiment's cancelled searches."""
    tx.execute(
        """
        UPDATE trial SET state = 'cancelled', finished_at = now()
        FROM experiment_search es JOIN search s ON s.id = es.search_id
        WHERE es.experiment_id = :experiment AND s.state = 'cancelled'
          AND trial.search_id = s.id AND trial.state = 'running'
        """,
        {"experiment": experiment},
    )


def cancel_work_of_search(tx: Transaction, search: UUID) -> None:
    """Cancel all unfinished tasks and trials of a search."""
    _cancel_tasks(
        tx,
        "SELECT id FROM task WHERE search_id = :search AND state IN ('ready', 'leased') ORDER BY id FOR NO KEY UPDATE",
        search=search,
    )
    tx.execute(
        "UPDATE trial SET state = 'cancelled', finished_at = now() WHERE search_id = :search AND state = 'running'",
        {"search": search},
    )


def _cancel_tasks(tx: Transaction, chosen: str, **parameters: object) -> None:
    # Locked first and ended by a statement of its own, which sees the attempts of the claims that the lock waited for.
    locked = [row.id for row in tx.execute(chosen, parameters)]
    if not locked:
        return
    tx.execute(
        """
        WITH cancelled AS (
            UPDATE task SET state = 'cancelled', finished_at = now(), worker_id = NULL, lease_expires_at = NULL
            WHERE id = ANY(CAST(:locked AS uuid[])) RETURNING id, attempt
        )
        UPDATE attempt SET outcome = 'cancelled', ended_at = clock_timestamp(),
               seconds = EXTRACT(epoch FROM clock_timestamp() - started_at)
        FROM cancelled WHERE attempt.task_id = cancelled.id AND attempt.n = cancelled.attempt AND outcome IS NULL
        """,
        {"locked": locked},
    )
