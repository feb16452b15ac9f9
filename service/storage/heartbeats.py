"""Signs of life of the servers' own background work."""

from datetime import datetime

from service.storage.engine import Transaction

REAPER = "reaper"
PLANNER = "planner"
_AMNESTY = "amnesty"


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


def grant_amnesty(tx: Transaction, lease_seconds: float) -> None:
    """Remember until when the leases of a moment last, all of which ``tasks.extend_all`` gave their full time again."""
    tx.execute(
        """
        INSERT INTO server_heartbeat (name, beat_at) VALUES (:name, now() + make_interval(secs => :lease))
        ON CONFLICT (name) DO UPDATE SET beat_at = excluded.beat_at
        """,
        {"name": _AMNESTY, "lease": lease_seconds},
    )


def amnesty_end(tx: Transaction) -> datetime | None:
    """When the leases of the last amnesty run out, unless they are renewed; None if there was none."""
    end: datetime | None = tx.execute(
        "SELECT beat_at FROM server_heartbeat WHERE name = :name", {"name": _AMNESTY}
    ).scalar_one_or_none()
    return end
