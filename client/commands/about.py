"""schema and version."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import typer

from client.console import say, say_json
from client.errors import StagetuneError
from client.options import Json, Server, Token, TokenFile, connect
from contract.submission import submission_schema


def schema() -> None:
    """Print the JSON Schema of a submission, for editors and checks."""
    say_json(submission_schema())


def version(json: Json = False, server: Server = None, token: Token = None, token_file: TokenFile = None) -> None:
    """Print this command's version, and the server's when one answers."""
    own = own_version()
    try:
        with connect(server, token, token_file) as client:
            theirs = client.version()
    except StagetuneError:
        theirs = None
    if json:
        say_json({"version": own, "server": theirs.model_dump(mode="json") if theirs else None})
        return
    say(f"stagetune {own}")
    if theirs:
        say(f"server {theirs.version}, optuna {theirs.optuna}, database {theirs.database}")


def own_version() -> str:
    """The installed version, or `unknown` in a bare checkout."""
    try:
        return installed_version("stagetune")
    except PackageNotFoundError:
        return "unknown"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(schema)
    app.command()(version)
