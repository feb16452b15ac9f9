"""failures and retry."""

from typing import Annotated

import typer

from client.console import plain, say, say_json
from client.options import Json, Reference, Server, Token, TokenFile, connect
from client.rendering.lists import failures_table
from client.rendering.text import plural, short


def failures(
    reference: Reference,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many, newest first.")] = 20,
    log: Annotated[bool, typer.Option("--log", help="With the last lines that each worker logged.")] = False,
    json: Json = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """List what went wrong in an experiment: which attempt, on which worker, and why."""
    with connect(server, token, token_file) as client:
        found = client.failures(reference, limit=limit, log=log)
    if json:
        say_json(found)
        return
    if not found.items:
        say("nothing has failed")
        return
    say(failures_table(found.items))
    if log:
        for item in found.items:
            say(f"\n{plain(item.label)}, attempt {item.attempt}:")
            say(plain(item.log or "(no log)"))
    if found.total > len(found.items):
        say(f"{found.total - len(found.items)} older ones; --limit shows more")
    if found.retryable:
        say(f"{plural(found.retryable, 'task')} failed for good; another chance: stagetune retry {_named(reference)}")


def retry(
    reference: Reference, json: Json = False, server: Server = None, token: Token = None, token_file: TokenFile = None
) -> None:
    """Give failed tasks another chance; what is decided stays decided."""
    with connect(server, token, token_file) as client:
        retried = client.retry(reference)
    if json:
        say_json(retried)
    elif not retried.tasks:
        say("nothing to retry: no task has failed that could still be used")
    else:
        opened = f"; {plural(retried.searches, 'search')} opened again" if retried.searches else ""
        say(f"{plural(retried.tasks, 'task')} get another chance{opened}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(failures)
    app.command()(retry)


def _named(reference: str) -> str:
    return reference if len(reference) < 36 else short(reference)
