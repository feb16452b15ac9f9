"""db: the server's database."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.connection import stagetune_home
from client.console import note, say
from client.errors import BadUsage, DatabaseUnreachable, StagetuneError

if TYPE_CHECKING:
    from service.postgres import EmbeddedPostgres

database = typer.Typer(name="db", no_args_is_help=True, help="The server's database, on its machine.")


@database.command()
def upgrade() -> None:
    """Bring the schema to this version. The server does it at start as well."""
    from service.postgres import backup_before
    from service.storage import migrations

    with _database() as (url, postgres):

        def keep(_: str) -> None:
            if postgres is not None:
                note(f"{backup_before(postgres, stagetune_home(), migrations.head())} has the database as it was")

        before = migrations.current(url)
        migrations.upgrade(url, before=keep)
        after = migrations.current(url)
    say(f"the database stands at {after}" + ("" if before == after else f" (before: {before or 'empty'})"))


@database.command()
def backup(target: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; pg_restore reads it.")]) -> None:
    """Dump the embedded database in pg_dump's custom format, while it runs."""
    with _embedded("pg_dump") as postgres:
        postgres.backup(target)
    note(f"wrote {target} ({target.stat().st_size:,} bytes)")


@database.command()
def restore(source: Annotated[Path, typer.Argument(metavar="FILE", help="A dump of `stagetune db backup`.")]) -> None:
    """Put a dump in the place of the embedded database. Stop the server first; start it afterwards.

    The database as it was is dumped into backups of the home before.
    """
    from service.postgres import backup_before

    if not source.is_file():
        raise BadUsage(f"there is no file {source}")
    with _embedded("pg_restore") as postgres:
        kept = backup_before(postgres, stagetune_home(), "restore")
        postgres.restore(source)
    note(f"restored {source}; {kept} has the database as it was")


@database.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count, and look for damaged artifacts.")] = False,
    grace: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Spare what was uploaded of late; default: an hour.")
    ] = None,
) -> None:
    """Remove artifacts that no result, snapshot or task names. The server does it by itself as well."""
    from service.artifacts import open_store
    from service.settings import Settings
    from service.storage import Storage, migrations
    from service.usecases.collect_artifacts import collect_artifacts

    with _database() as (url, _):
        if migrations.current(url) != migrations.head():
            raise BadUsage("the database is of another version: stagetune db upgrade brings it to this one")
        settings = Settings.load()
        files = open_store(settings.artifacts, settings.home, settings.artifact_bytes)
        store = Storage.connect(url, pool_size=2)
        with contextlib.closing(store), store.exclusive("collector") as alone:
            if not alone and not dry_run:
                raise StagetuneError("a server is collecting at this moment; try again")
            spared = settings.artifact_grace_seconds if grace is None else grace
            found = collect_artifacts(store, files, spared, dry=dry_run)
    say(f"{'would remove' if dry_run else 'removed'} {found.removed} artifacts, {found.removed_bytes:,} bytes")
    if found.missing:
        for name in found.missing:
            note(f"gone or damaged: {name}")
        raise StagetuneError(f"{len(found.missing)} artifacts that are needed are gone or damaged: restore them")


@contextlib.contextmanager
def _embedded(program: str) -> Iterator["EmbeddedPostgres"]:
    """The embedded server, running; refused for a database of the user's own, which has ``program``."""
    from service.postgres import EmbeddedPostgres

    if os.environ.get("STAGETUNE_DATABASE_URL"):
        raise BadUsage(f"STAGETUNE_DATABASE_URL names a database of yours: use its own {program}")
    with _translated(), EmbeddedPostgres(stagetune_home()) as postgres:
        yield postgres


@contextlib.contextmanager
def _database() -> Iterator[tuple[str, "EmbeddedPostgres | None"]]:
    """The database's URL, and its server if that is the embedded one, which runs at least for as long."""
    from service.app import with_password
    from service.postgres import EmbeddedPostgres, normalise_url
    from service.settings import Settings

    with _translated():
        settings = Settings.load()
        if settings.database_url is not None:
            url = normalise_url(settings.database_url.get_secret_value())
            yield with_password(url, settings.database_password_file), None
            return
        with EmbeddedPostgres(settings.home) as postgres:
            yield postgres.url, postgres


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
