"""up, serve and worker: what runs on this machine."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from client.api import Client
from client.connection import find_connection, is_loopback, read_token, stagetune_home
from client.console import note, say
from client.errors import MissingToken, StagetuneError
from client.local import LocalStack, python_module
from client.options import Server, Token, TokenFile
from client.signals import StopRequests

Host = Annotated[str, typer.Option(metavar="ADDRESS", envvar="STAGETUNE_HOST", help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, envvar="STAGETUNE_PORT", help="Port; 0 takes a free one.")]
Home = Annotated[Path | None, typer.Option(metavar="PATH", help="Where state lives; else STAGETUNE_HOME.")]


def up(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    home: Home = None,
    devices: Annotated[
        list[str] | None,
        typer.Option("--device", metavar="DEVICE", help="cpu, cuda:0, mps; repeatable. Default: all GPUs, else cpu."),
    ] = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Database and server only.")] = False,
) -> None:
    """Run database, server and a worker per device here, until Ctrl-C.

    Ctrl-C once lets the workers hand back what they are at, twice stops at once.
    """
    place = home.expanduser().absolute() if home else stagetune_home()
    chosen = [] if no_worker else devices
    with StopRequests() as stops, LocalStack(place, host, port, say=note, stops=stops, devices=chosen) as stack:
        greet(stack)
        stack.serve()
        note("stopping: workers hand back what they are at (Ctrl-C again stops now)")
    note("stopped")


def serve(host: Host = "127.0.0.1", port: Port = 8000, home: Home = None) -> None:
    """Run the server (and its embedded database) in the foreground; restarts are its supervisor's job."""
    environment = os.environ | {"STAGETUNE_HOST": host, "STAGETUNE_PORT": str(port)}
    if home is not None:
        environment["STAGETUNE_HOME"] = str(home.expanduser().absolute())
    _become(python_module("service"), environment)


def worker(
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="cpu, cuda:0, mps; default: the best.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="CPU threads; share the cores out among workers of one machine.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its name in lists; default: host and process.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="PATH", help="Data sets; else STAGETUNE_DATASETS.")
    ] = None,
    home: Home = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", metavar="PATH", help="PEM file to trust; else STAGETUNE_CA_FILE.")
    ] = None,
    exit_when_idle: Annotated[
        bool, typer.Option("--exit-when-idle", "--once", help="End when there is nothing to do.")
    ] = False,
) -> None:
    """Run a worker for a server, here or elsewhere. Ctrl-C once hands back its task, twice stops at once."""
    found = find_connection(server, token, token_file, own_file="worker-token")
    if found.token is None:
        raise MissingToken("a worker needs a token: --token-file, STAGETUNE_TOKEN_FILE or STAGETUNE_TOKEN")
    command = [*python_module("worker"), "--server", found.url]
    flags = {"--device": device, "--threads": threads, "--name": name, "--datasets": data, "--home": home,
             "--ca-file": ca_file}  # fmt: skip
    for flag, value in flags.items():
        if value is not None:
            command += [flag, str(value)]
    if exit_when_idle:
        command.append("--exit-when-idle")
    # Starting over also takes a --token out of the process list.
    _become(command, os.environ | {"STAGETUNE_TOKEN": found.token})


def greet(stack: LocalStack) -> None:
    """What to do now: the page, the command, more workers."""
    try:
        with Client(stack.url, read_token(stack.home / "admin-token")) as client:
            link = f"{client.login_link()}   (once, within five minutes; `stagetune open` makes another)"
    except StagetuneError:
        # Whatever is wrong with the server now, keeping it alive is more use than a link.
        link = "`stagetune open` prints a link"
    say(f"stagetune runs at {stack.url}")
    say(f"  page         {link}")
    say("  start        stagetune submit demo --watch")
    if is_loopback(stack.host):
        say("  more workers STAGETUNE_ALLOW_REMOTE=1 stagetune up --host 0.0.0.0 lets other machines in")
    else:
        say(f"  more workers stagetune worker --server http://THIS-MACHINE:{stack.port} --token-file worker-token")
        say(f"               with {stack.home / 'worker-token'} copied there")
    say(f"  logs         {stack.logs}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(serve)
    app.command()(worker)


def _become(command: list[str], environment: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, environment)  # noqa: S606 - a list of ours, and no shell
