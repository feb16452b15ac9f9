"""token, open and audit."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from client.connection import stagetune_home
from client.console import note, plain, say, say_json
from client.errors import BadUsage
from client.opening import open_link
from client.options import Json, Server, Token, TokenFile, connect
from client.rendering.lists import table
from client.rendering.text import NOTHING, moment
from contract.access import Scope, TokenView

tokens = typer.Typer(name="token", no_args_is_help=True, help="Tokens of workers, programs and people.")


@tokens.command()
def create(
    name: Annotated[str, typer.Argument(help="Whom it is for.")],
    scope: Annotated[Scope, typer.Option(help="What it may do.")] = "submit",
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long it lives: 90d, 12h.")] = "90d",
    json: Json = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Create a token and print it, this once."""
    with connect(server, token, token_file) as client:
        made = client.create_token(name, scope, expires=expires)
    if json:
        say_json(made)
        return
    say(made.token)
    note(f"{plain(made.name)}: {made.scope}, until {moment(made.expires_at)}; it is not shown again")


@tokens.command("list")
def list_(json: Json = False, server: Server = None, token: Token = None, token_file: TokenFile = None) -> None:
    """List tokens; their secrets are not kept."""
    with connect(server, token, token_file) as client:
        found = client.tokens()
    if json:
        say_json(found)
        return
    made = table("id", "name", "scope", "expires", "last used", "state")
    for item in found:
        used = moment(item.last_used_at) if item.last_used_at else NOTHING
        made.add_row(str(item.id)[:8], plain(item.name), item.scope, moment(item.expires_at), used, _state(item))
    say(made)


@tokens.command()
def revoke(
    reference: Annotated[str, typer.Argument(metavar="ID", help="The token's id or the start of it.")],
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """End a token at once."""
    with connect(server, token, token_file) as client:
        matches = [item for item in client.tokens() if str(item.id).startswith(reference.lower())]
        if len(matches) > 1:
            raise BadUsage(f"{reference!r} is the start of {len(matches)} token ids")
        client.revoke_token(matches[0].id if matches else _identifier(reference))
    note(f"revoked {matches[0].name if matches else reference}")


def open_(
    browser: Annotated[bool, typer.Option("--browser", help="Open it as well.")] = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Print a link that opens the page once, within five minutes."""
    with connect(server, token, token_file) as client:
        link = client.login_link()
    say(link)
    if browser and not open_link(link, stagetune_home()):
        note("no browser could be started; open the link yourself")


def audit(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    json: Json = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """List who did or tried what, newest first."""
    with connect(server, token, token_file) as client:
        found = client.audit(limit=limit)
    if json:
        say_json(found)
        return
    made = table("when", "who", "scope", "what", "of", "outcome", "times", "from", right=("times",))
    for item in found:
        made.add_row(
            moment(item.at), plain(item.actor), item.scope or NOTHING, plain(item.action), plain(item.object),
            plain(item.outcome), str(item.count), plain(item.address),
        )  # fmt: skip
    say(made)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(tokens)
    app.command("open")(open_)
    app.command()(audit)


def _state(item: TokenView) -> str:
    if item.revoked_at:
        return "revoked"
    return "expired" if item.expires_at <= datetime.now(UTC) else "valid"


def _identifier(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadUsage(f"no token's id starts with {text!r}; `stagetune token list` shows them") from None
