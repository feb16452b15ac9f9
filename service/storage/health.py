"""What tells whether the database and the background work are well."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.storage.engine import Transaction


@dataclass(frozen=True, slots=True)
class Pulse:
    """The schema's revision, seconds since the last beat of each kind of background work, PostgreSQL's version."""

    revision: str | None
    silent_seconds: Mapping[str, float]
    version: str


def pulse(tx: Transaction) -> Pulse:
    """The database's own view of all three."""
    row = tx.execute(
        """
        SELECT (SELECT version_num FROM alembic_version) AS revision,
               (SELECT coalesce(jsonb_object_agg(name, extract(epoch FROM now() - beat_at)), '{}')
                FROM server_heartbeat) AS silent,
               current_setting('server_version') AS version
        """
    ).one()
    return Pulse(row.revision, row.silent, row.version)
