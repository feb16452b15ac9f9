"""Dumps of the embedded database: made before every migration, the last few kept, and put back."""

import re
from datetime import UTC, datetime
from pathlib import Path

from service.postgres.server import EmbeddedPostgres

KEPT = 5
_NAME = re.compile(r"before-.+-\d{8}T\d{6}Z\.dump")


def backup_before(postgres: EmbeddedPostgres, home: Path, what: str) -> Path:
    """Dump the database into ``home``/backups because of ``what`` is to come, and drop all but the last few of those.

    Raises PostgresError.
    """
    folder = home / "backups"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"before-{what}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump"
    postgres.backup(target)
    made = sorted(
        (path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=lambda path: path.stat().st_mtime
    )
    for old in made[:-KEPT]:
        old.unlink(missing_ok=True)
    # A dump that a kill cut off; no other is made at the same time, since migrations take turns.
    for partial in folder.glob("before-*.partial"):
        partial.unlink(missing_ok=True)
    return target
