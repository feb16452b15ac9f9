"""workers and presets."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

import typer

from client.api import Client
from client.console import plain, say, say_json
from client.options import Json, Server, Token, TokenFile, connect
from client.rendering.lists import table, workers_table
from contract.experiments import WorkerView

WorkerReference = Annotated[str, typer.Argument(metavar="WORKER", help="Its name, its id, or the start of that.")]

fleet = typer.Typer(name="workers", invoke_without_command=True)


@fleet.callback()
def workers(
    context: typer.Context,
    json: Json = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """List the workers and what they hold; `drain` lets one leave."""
    if context.invoked_subcommand is not None:
        return
    with connect(server, token, token_file) as client:
        found = client.workers()
    if json:
        say_json(found)
    elif found:
        say(workers_table(found))
    else:
        say("no workers; `stagetune worker` starts one")


@fleet.command()
def drain(worker: WorkerReference, json: Json = False, server: Server = None, token: Token = None,
          token_file: TokenFile = None) -> None:  # fmt: skip
    """Let a worker hand back what it holds and leave; nothing counts against its tasks."""
    _set(Client.drain, worker, json, server, token, token_file)


@fleet.command()
def undrain(worker: WorkerReference, json: Json = False, server: Server = None, token: Token = None,
            token_file: TokenFile = None) -> None:  # fmt: skip
    """Let a worker that has not left yet work on."""
    _set(Client.undrain, worker, json, server, token, token_file)


def presets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print this one, to edit.")] = None,
    json: Json = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """List the submissions that ship with the server, or print one."""
    with connect(server, token, token_file) as client:
        if name is not None:
            preset = client.preset(name)
            say_json(preset) if json else typer.echo(preset.text.rstrip("\n"))
            return
        found = client.presets()
    if json:
        say_json(found)
        return
    made = table("name", "what it is")
    for preset in found:
        made.add_row(plain(preset.name), plain(preset.summary))
    say(made)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(fleet)
    app.command()(presets)


def _set(
    verb: Callable[[Client, UUID | str], WorkerView],
    worker: str,
    json: bool,
    server: Server,
    token: Token,
    token_file: TokenFile,
) -> None:
    with connect(server, token, token_file) as client:
        found = verb(client, worker)
    say_json(found) if json else say(workers_table([found]))
