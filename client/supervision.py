"""Child processes that are kept alive, and never outlive this one.

One thread, no handlers of its own: the owner calls `tick` in its loop and `stop` at the end.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FLAPPING_DEATHS = 5
FLAPPING_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 8.0
FIRST_PAUSE_SECONDS = 0.25
LARGEST_LOG_BYTES = 16 * 1024 * 1024
POLL_SECONDS = 0.05

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class ChildSpec:
    """What to start: output goes to `log`, secrets come by environment or file, never by argument."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path


@dataclass
class Child:
    """A supervised process and its recent deaths."""

    spec: ChildSpec
    process: subprocess.Popen[bytes]
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=FLAPPING_DEATHS))
    restart_at: float | None = None
    given_up: bool = False
    last_status: int | None = None

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


class Supervisor:
    """Starts children in sessions of their own (a terminal's Ctrl-C is not theirs) and restarts those that die."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.children: dict[str, Child] = {}

    def start(self, spec: ChildSpec) -> Child:
        """Start a child; it is supervised from now on."""
        child = Child(spec, _spawn(spec))
        self.children[spec.name] = child
        return child

    def tick(self) -> None:
        """Notice deaths, restart what is due, give up on what flaps."""
        now = time.monotonic()
        for child in self.children.values():
            if child.given_up or child.alive:
                continue
            if child.restart_at is None:
                self._bury(child, now)
            elif now >= child.restart_at:
                child.restart_at = None
                child.process = _spawn(child.spec)
                self._say(f"{child.spec.name}: started again as process {child.process.pid}")

    def stop(self, names: Sequence[str], grace_seconds: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """End children: SIGTERM, then SIGKILL to what is left of their sessions after the grace or when in a hurry."""
        children = [self.children.pop(name) for name in names if name in self.children]
        for child in children:
            if child.alive:
                child.process.terminate()
        deadline = time.monotonic() + grace_seconds
        hurried = False
        while any(child.alive for child in children) and time.monotonic() < deadline and not (hurried := hurry()):
            time.sleep(POLL_SECONDS)
        for child in children:
            if child.alive:
                self._say(f"{child.spec.name}: {'stopped at once' if hurried else 'killed; it did not end in time'}")
            # The session may hold grandchildren even when its leader has ended.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait()

    def _bury(self, child: Child, now: float) -> None:
        child.last_status = child.process.returncode
        child.deaths.append(now)
        ended = f"{child.spec.name}: ended with {describe_status(child.process.returncode)}"
        if len(child.deaths) == FLAPPING_DEATHS and now - child.deaths[0] <= FLAPPING_SECONDS:
            child.given_up = True
            self._say(f"{ended}, {FLAPPING_DEATHS} times in {FLAPPING_SECONDS:.0f} s; given up, see {child.spec.log}")
            return
        recent = sum(1 for death in child.deaths if now - death <= FLAPPING_SECONDS)
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (recent - 1), LONGEST_PAUSE_SECONDS)
        child.restart_at = now + pause
        self._say(f"{ended}; starting it again in {pause:.2g} s")


def describe_status(status: int) -> str:
    """`status 3` or `signal SIGKILL`."""
    if status >= 0:
        return f"status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


def last_lines(log: Path, count: int = 8) -> str:
    """The end of a log file, to show why a child did not live."""
    try:
        lines = log.read_bytes()[-16_384:].decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-count:])


def _spawn(spec: ChildSpec) -> subprocess.Popen[bytes]:
    spec.log.parent.mkdir(parents=True, exist_ok=True)
    if spec.log.exists() and spec.log.stat().st_size > LARGEST_LOG_BYTES:
        spec.log.replace(spec.log.with_suffix(".log.1"))
    with spec.log.open("ab") as log:
        return subprocess.Popen(
            spec.command,
            env=dict(spec.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A killed supervisor cannot stop anybody; on Linux the kernel then tells its children.
            preexec_fn=_end_with_parent if _LIBC is not None else None,
        )


def _end_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
