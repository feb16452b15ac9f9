"""demo: everything once, from nothing to the table, and nothing left behind."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import psutil
import typer

from client.api import Client
from client.commands.machine import greet
from client.commands.reporting import show
from client.commands.watching import Follower
from client.connection import read_token, stagetune_home
from client.console import note, say
from client.errors import BadUsage, StagetuneError
from client.exitcodes import ExitCode
from client.local import Interrupted, LocalStack, database_folder
from client.rendering.lists import plan_summary
from client.rendering.report import next_steps
from client.signals import StopRequests

PRESETS = {"digits": "demo", "cifar10": "table-1"}
MARK = "STAGETUNE_DEMO"
LONGEST_TEMPORARY_PATH = 40
"""A Unix socket's path has about a hundred bytes; PostgreSQL needs the rest of them."""
WORKER_SECONDS = 120.0
LINGER_SECONDS = 5.0
LOOK_SECONDS = 0.5
AFTERWARDS = (
    "where to look next:",
    "  stagetune demo --keep     the same, and leaves it serving: the page, Optuna's dashboard, the API",
    "  stagetune up              your own server; `stagetune presets` lists experiments to start from",
    "  stagetune submit FILE     your own networks; `stagetune schema` says what a submission may hold",
)


def demo(
    dataset: Annotated[str, typer.Option(help="digits (comes along) or cifar10 (STAGETUNE_DATASETS).")] = "digits",
    preset: Annotated[str | None, typer.Option(metavar="FILE|PRESET", help="Another submission.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it serving until Ctrl-C; state goes to STAGETUNE_HOME.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
) -> None:
    """Run the eight CNNs of the paper's Table 1 on a server of its own and print Total versus Partial."""
    if preset is None and dataset not in PRESETS:
        raise BadUsage(f"there is no demo on {dataset!r}; choose {' or '.join(PRESETS)}")
    source = preset or PRESETS[dataset]
    home = stagetune_home() if keep else _temporary_home()
    # Inherited by everything started below, so that what is left of it can be found.
    os.environ[MARK] = mark = uuid4().hex
    try:
        with StopRequests() as stops:
            code = _run(home, port, source, keep, stops)
        left = _still_running(mark)
    finally:
        if not keep:
            _remove(home)
    if left:
        raise StagetuneError(f"still running after the demo: {', '.join(left)}")
    raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def _run(home: Path, port: int, source: str, keep: bool, stops: StopRequests) -> ExitCode:
    note(f"starting database, server and workers in {home}")
    try:
        with LocalStack(home, "127.0.0.1", port, say=note, stops=stops) as stack:
            with Client(stack.url, read_token(home / "admin-token")) as client:
                code = _experiment(client, stack, source, keep)
            if keep:
                greet(stack)
                say("  stop         Ctrl-C; `stagetune up` goes on from there later")
                stack.serve()
            note("stopping everything")
    except Interrupted:
        note("interrupted; everything is stopped")
        return ExitCode.INTERRUPTED
    return code


def _experiment(client: Client, stack: LocalStack, source: str, keep: bool) -> ExitCode:
    def joined() -> bool:
        return any(worker.state == "online" for worker in client.workers())

    stack.wait_until(joined, WORKER_SECONDS, "a worker to join")
    say(plan_summary(client.plan(source)))
    experiment = client.submit(source)
    with Follower(client) as follower:
        for snapshot in client.watch(experiment.id, interval=LOOK_SECONDS, pause=stack.pause):
            follower.show(snapshot)
    say("")
    report = client.report(experiment.id)
    show(report, next_steps(report, client.url) if keep else AFTERWARDS)
    return ExitCode.OK if snapshot.state == "finished" else ExitCode.FAILED


def _temporary_home() -> Path:
    system = tempfile.gettempdir()
    short = system if len(system) <= LONGEST_TEMPORARY_PATH else "/tmp"  # noqa: S108 - mkdtemp makes the name
    return Path(tempfile.mkdtemp(prefix="st-", dir=short))


def _remove(home: Path) -> None:
    shutil.rmtree(database_folder(home) or home, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


def _still_running(mark: str) -> list[str]:
    """What this demo started, found by the mark in its environment; ending may take a moment."""
    deadline = time.monotonic() + LINGER_SECONDS
    while (left := list(_marked(mark))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _marked(mark: str) -> Iterator[str]:
    for process in psutil.process_iter():
        try:
            ours = process.pid != os.getpid() and process.environ().get(MARK) == mark
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                yield f"{process.pid} {process.name()}"
        except psutil.Error:
            continue
