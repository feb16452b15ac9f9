"""submit, plan, list, pause, resume, cancel, purge."""

import sys
from collections.abc import Callable
from typing import Annotated
from uuid import UUID

import typer

from client.api import Client
from client.commands.watching import follow
from client.console import note, plain, say, say_json
from client.errors import BadUsage
from client.options import Json, NoReuse, Reference, Server, SubmissionSource, Token, TokenFile, connect
from client.rendering.lists import experiment_lines, experiments_table, plan_summary, plan_tree
from client.rendering.text import short
from client.sources import Source
from contract.experiments import Experiment, ExperimentState


def submit(
    source: SubmissionSource,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it until it ends.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Repeating a submission with the same key starts nothing new.")
    ] = None,
    no_reuse: NoReuse = False,
    json: Json = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Start an experiment from a file or a preset."""
    with connect(server, token, token_file) as client:
        experiment = client.submit(_source(source), idempotency_key=idempotency_key, reuse=not no_reuse)
        if watch:
            if not json:
                note(f"submitted {experiment.name} as {experiment.id}")
            raise typer.Exit(follow(client, experiment.id, json=json))
        if json:
            say_json(experiment)
            return
        say(experiment_lines(experiment))
        say(f"follow it with: stagetune watch {short(experiment.id)}")


def plan(
    source: SubmissionSource,
    no_reuse: NoReuse = False,
    json: Json = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Show what a submission would train, without starting it."""
    with connect(server, token, token_file) as client:
        found = client.plan(_source(source), reuse=not no_reuse)
    if json:
        say_json(found)
    else:
        say(plan_tree(found))
        say(plan_summary(found))


def list_(
    state: Annotated[
        ExperimentState | None, typer.Option(metavar="STATE", help="Only running, paused, finished ... ones.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    json: Json = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """List experiments, newest first."""
    with connect(server, token, token_file) as client:
        found = client.experiments(state=state, limit=limit)
    if json:
        say_json(found)
    elif found:
        say(experiments_table(found))
    else:
        say("no experiments; `stagetune submit demo` starts one")


def pause(reference: Reference, json: Json = False, server: Server = None, token: Token = None,
          token_file: TokenFile = None) -> None:  # fmt: skip
    """Lease nothing more of an experiment; workers hand back what they hold."""
    _control(Client.pause, reference, json, server, token, token_file)


def resume(reference: Reference, json: Json = False, server: Server = None, token: Token = None,
           token_file: TokenFile = None) -> None:  # fmt: skip
    """Go on with a paused experiment."""
    _control(Client.resume, reference, json, server, token, token_file)


def cancel(reference: Reference, json: Json = False, server: Server = None, token: Token = None,
           token_file: TokenFile = None) -> None:  # fmt: skip
    """End an experiment; searches it shares with others go on for those."""
    _control(Client.cancel, reference, json, server, token, token_file)


def purge(
    reference: Reference,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Remove an ended experiment for good; what other experiments stand on stays."""
    with connect(server, token, token_file) as client:
        experiment = client.experiment(reference)
        if not yes:
            if not sys.stdin.isatty():
                raise BadUsage("nobody can be asked here: add --yes to remove it for good")
            typer.confirm(f"Remove {plain(experiment.name)} ({experiment.id}) for good?", abort=True, err=True)
        client.purge(experiment.id)
    note(f"removed {experiment.name} ({experiment.id})")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(submit)
    app.command()(plan)
    app.command("list")(list_)
    app.command()(pause)
    app.command()(resume)
    app.command()(cancel)
    app.command()(purge)


def _control(
    verb: Callable[[Client, UUID | str], Experiment],
    reference: str,
    json: bool,
    server: Server,
    token: Token,
    token_file: TokenFile,
) -> None:
    with connect(server, token, token_file) as client:
        experiment = verb(client, reference)
    say_json(experiment) if json else say(experiment_lines(experiment))


def _source(argument: str) -> Source:
    if argument == "-":
        # A trailing line break keeps a one-line text from being taken for a preset's name.
        return sys.stdin.read() + "\n"
    return argument
