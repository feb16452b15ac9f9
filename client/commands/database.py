"""db: the server's database."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from client.connection import stagetune_home
from client.console import note, say
from client.errors import BadUsage, DatabaseUnreachable, StagetuneError

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
        raise BadUsage("STAGETUNE_DATABASE_URL names a database of yours: use its own pg_dump")
    with _translated(), EmbeddedPostgres(stagetune_home()) as postgres:
        postgres.backup(target)
    note(f"wrote {target} ({target.stat().st_size:,} bytes)")


@contextlib.contextmanager
def _database() -> Iterator[str]:
    """The database's URL; the embedded one runs at least for as long."""
    from service.app import with_password
    from service.postgres import EmbeddedPostgres, normalise_url
    from service.settings import Settings

    with _translated():
        settings = Settings.load()
        if settings.database_url is not None:
            url = normalise_url(settings.database_url.get_secret_value())
            yield with_password(url, settings.database_password_file)
            return
        with EmbeddedPostgres(settings.home) as postgres:
            yield postgres.url


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """What the server's own code refuses, as the errors of this command."""
    from service.app import StartError
    from service.domain.errors import DatabaseUnavailable
    from service.domain.errors import StagetuneError as ServiceError
    from service.postgres import PostgresError
    from service.settings import SettingsError

    try:
        yield
    except (SettingsError, StartError) as error:
        raise BadUsage(str(error)) from error
    except DatabaseUnavailable as error:
        raise DatabaseUnreachable(error.message) from error
    except (ServiceError, PostgresError, OSError) as error:
        raise StagetuneError(str(error)) from error


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(database)
