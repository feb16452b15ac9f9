"""workers and presets."""

from typing import Annotated

import typer

from client.console import plain, say, say_json
from client.options import Json, Server, Token, TokenFile, connect
from client.rendering.lists import table, workers_table


def workers(json: Json = False, server: Server = None, token: Token = None, token_file: TokenFile = None) -> None:
    """List the workers and what they hold."""
    with connect(server, token, token_file) as client:
        found = client.workers()
    if json:
        say_json(found)
    elif found:
        say(workers_table(found))
    else:
        say("no workers; `stagetune worker` starts one")


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
    app.command()(workers)
    app.command()(presets)
