"""db: the server's database."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from client.connection import stagetune_home
from client.console import note, say
from client.errors import StagetuneError

database = typer.Typer(name="db", no_args_is_help=True, help="The server's database, on its machine.")


@database.command()
def upgrade() -> None:
    """Bring the schema to this version. The server does it at start as well."""
    from service.storage import migrations

    with _database() as url:
        before = migrations.current(url)
        migrations.upgrade(url)
        after = migrations.current(url)
    say(f"the database stands at {after}" + ("" if before == after else f" (before: {before or 'empty'})"))


@database.command()
def backup(target: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; pg_restore reads it.")]) -> None:
    """Dump the embedded database in pg_dump's custom format, while it runs."""
    from service.postgres import EmbeddedPostgres

    if os.environ.get("STAGETUNE_DATABASE_URL"):
        raise StagetuneError("STAGETUNE_DATABASE_URL names a database of yours: use its own pg_dump")
    with EmbeddedPostgres(stagetune_home()) as postgres:
        postgres.backup(target)
    note(f"wrote {target} ({target.stat().st_size:,} bytes)")


@contextlib.contextmanager
def _database() -> Iterator[str]:
    """The database's URL; the embedded one runs at least for as long."""
    from service.app import with_password
    from service.postgres import EmbeddedPostgres, normalise_url
    from service.settings import Settings

    settings = Settings.load()
    if settings.database_url is not None:
        yield with_password(normalise_url(settings.database_url.get_secret_value()), settings.database_password_file)
        return
    with EmbeddedPostgres(settings.home) as postgres:
        yield postgres.url


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(database)
