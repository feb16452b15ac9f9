"""Signs of life of the servers' own background work."""

from service.storage.engine import Transaction

REAPER = "reaper"
PLANNER = "planner"


def beat(tx: Transaction, name: str) -> float | None:
    """Leave a sign of life; the seconds since the one before, by the database's clock, None at the first."""
    silent: float | None = tx.execute(
        """
        WITH before AS (SELECT beat_at FROM server_heartbeat WHERE name = :name)
        INSERT INTO server_heartbeat (name) VALUES (:name)
        ON CONFLICT (name) DO UPDATE SET beat_at = excluded.beat_at
        RETURNING (SELECT CAST(EXTRACT(epoch FROM now() - beat_at) AS double precision) FROM before)
        """,
        {"name": name},
    ).scalar_one()
    return silent
