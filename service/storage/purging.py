"""Removing an experiment for good, with the searches that nothing else stands on."""

from collections.abc import Collection
from uuid import UUID

from service.storage.engine import Transaction


def lock_unshared(tx: Transaction, experiment: UUID) -> list[UUID]:
    """Searches that only this experiment has, or none any more, and that no other search stands on; locked."""
    unshared = tx.execute(
        """
        WITH RECURSIVE own AS (
            SELECT s.id, s.parent_id, s.earlier_id, s.match_ids FROM search s WHERE NOT EXISTS (
                SELECT FROM experiment_search es WHERE es.search_id = s.id AND es.experiment_id <> :experiment
            )
        ), kept AS (
            SELECT own.id, own.parent_id, own.earlier_id, own.match_ids FROM own
            JOIN search other ON other.parent_id = own.id OR other.earlier_id = own.id OR own.id = ANY(other.match_ids)
            WHERE other.id NOT IN (SELECT id FROM own)
            UNION
            SELECT own.id, own.parent_id, own.earlier_id, own.match_ids FROM own
            JOIN kept ON kept.parent_id = own.id OR kept.earlier_id = own.id OR own.id = ANY(kept.match_ids)
        )
        SELECT id FROM own WHERE id NOT IN (SELECT id FROM kept)
        """,
        {"experiment": experiment},
    ).scalars()
    parameters = {"experiment": experiment, "ids": list(unshared)}
    # Parents first, and searches before tasks, as everybody locks them.
    locked = tx.execute(
        """
        SELECT s.id FROM search s
        LEFT JOIN experiment_search es ON es.search_id = s.id AND es.experiment_id = :experiment
        WHERE s.id = ANY(CAST(:ids AS uuid[])) ORDER BY es.position, s.id FOR UPDATE OF s
        """,
        parameters,
    ).scalars()
    found = list(locked)
    tx.execute("SELECT FROM task WHERE search_id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE", parameters)
    return found


def count_leases(tx: Transaction, searches: Collection[UUID]) -> int:
    """Tasks of the searches that a worker is at."""
    count: int = tx.execute(
        "SELECT count(*) FROM task WHERE search_id = ANY(CAST(:ids AS uuid[])) AND state = 'leased'",
        {"ids": list(searches)},
    ).scalar_one()
    return count


def remove(tx: Transaction, experiment: UUID, searches: Collection[UUID]) -> None:
    """Delete the experiment and the searches with all that is theirs. Artifacts stay, by content, for their sweeper."""
    tx.execute("DELETE FROM experiment WHERE id = :experiment", {"experiment": experiment})
    parameters = {"ids": list(searches)}
    chosen = "search_id = ANY(CAST(:ids AS uuid[]))"
    of_tasks = f"USING task t WHERE t.{chosen} AND x.task_id = t.id"
    for table in ("result", "report", "attempt"):
        tx.execute(f"DELETE FROM {table} x {of_tasks}", parameters)
    tx.execute(f"DELETE FROM task WHERE {chosen}", parameters)
    # A decided search has its incumbent; it has to be something else before its trials can go.
    tx.execute(
        "UPDATE search SET state = 'cancelled', incumbent_id = NULL WHERE id = ANY(CAST(:ids AS uuid[]))", parameters
    )
    tx.execute(f"DELETE FROM trial WHERE {chosen}", parameters)
    tx.execute(
        """
        WITH gone AS (DELETE FROM search WHERE id = ANY(CAST(:ids AS uuid[])) RETURNING name)
        INSERT INTO purged_study (name) SELECT DISTINCT name FROM gone ON CONFLICT DO NOTHING
        """,
        parameters,
    )


def purged_studies(tx: Transaction, limit: int) -> list[str]:
    """Optuna's studies that have no search any more."""
    return list(tx.execute("SELECT name FROM purged_study ORDER BY name LIMIT :limit", {"limit": limit}).scalars())


def forget_study(tx: Transaction, name: str) -> None:
    """The study is gone. A search that got its name since is shown anew."""
    tx.execute("DELETE FROM purged_study WHERE name = :name", {"name": name})
    tx.execute(
        "UPDATE trial SET projected = NULL FROM search s WHERE s.name = :name AND trial.search_id = s.id",
        {"name": name},
    )
    tx.execute("UPDATE search SET projected = false WHERE name = :name", {"name": name})
