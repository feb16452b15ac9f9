"""watch: follow an experiment until it ends."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Annotated, Self
from uuid import UUID

import typer
from rich.console import Console
from rich.live import Live

from client.api import Client
from client.console import note, say, say_json
from client.errors import StagetuneError
from client.exitcodes import ExitCode
from client.options import Json, Reference, Server, Token, TokenFile, connect
from client.rendering.progress import PlainProgress, live_view, totals
from client.rendering.text import short
from contract.experiments import Experiment, WorkerView

WORKERS_EVERY_SECONDS = 3.0


def watch(
    reference: Reference,
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between looks.")] = 1.0,
    json: Json = False,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Follow an experiment until it ends; --json prints a snapshot a line. Ctrl-C leaves it running."""
    with connect(server, token, token_file) as client:
        raise typer.Exit(follow(client, client.resolve(reference), json=json, interval=interval))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(watch)


def follow(client: Client, experiment: UUID, *, json: bool = False, interval: float = 1.0) -> ExitCode:
    """Show an experiment until it ends; FAILED unless it finished, INTERRUPTED after Ctrl-C."""
    try:
        with Follower(client, json=json) as follower:
            for last in client.watch(experiment, interval=interval, on_outage=None if json else _outage):
                follower.show(last)
    except KeyboardInterrupt:
        if json:
            raise
        note(
            f"stopped watching; the experiment goes on. `stagetune watch {short(experiment)}` looks again, "
            f"`stagetune cancel {short(experiment)}` ends it"
        )
        return ExitCode.INTERRUPTED
    if not json:
        style = "" if last.state == "finished" else "bold red"
        note(f"{last.state}: {totals(last)}; see `stagetune report {short(experiment)}`", style=style)
    return ExitCode.OK if last.state == "finished" else ExitCode.FAILED


class Follower:
    """Shows snapshots: JSON lines, bars on a terminal, or plain lines."""

    def __init__(self, client: Client, *, json: bool = False) -> None:
        self._client = client
        self._json = json
        self._lines = PlainProgress(say, time.monotonic)
        self._live: Live | None = None
        self._workers: Sequence[WorkerView] = ()
        self._asked_at = float("-inf")
        if not json and sys.stdout.isatty():
            console = Console(highlight=False, emoji=False)
            self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, snapshot: Experiment) -> None:
        """Show the experiment as it is now."""
        if self._json:
            say_json(snapshot, line=True)
        elif self._live is None:
            self._lines.show(snapshot)
        else:
            if time.monotonic() - self._asked_at > WORKERS_EVERY_SECONDS:
                self._workers, self._asked_at = self._ask_workers(), time.monotonic()
            self._live.update(live_view(snapshot, self._workers, self._live.console.height), refresh=True)

    def _ask_workers(self) -> Sequence[WorkerView]:
        # The list is an aside; a token that may not read it must not end the watching.
        try:
            return self._client.workers()
        except StagetuneError:
            return ()


def _outage(outage: StagetuneError) -> None:
    note(f"{outage}; trying again", style="yellow")
