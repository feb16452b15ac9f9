"""Database, server and workers on this machine, as `stagetune up` and `stagetune demo` run them."""

import os
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from filelock import FileLock, Timeout

from client.devices import find_devices, worker_name
from client.errors import BadUsage, StagetuneError
from client.exitcodes import ExitCode
from client.signals import StopRequests
from client.supervision import ChildSpec, Supervisor, last_lines

SERVER = "server"
READY_SECONDS = 180.0
WORKER_GRACE_SECONDS = 40.0
SERVER_GRACE_SECONDS = 75.0
HURRIED_SERVER_SECONDS = 3.0
TICK_SECONDS = 0.1


class Interrupted(StagetuneError):
    """Asked to stop while there was something to wait for."""

    exit_code = ExitCode.INTERRUPTED


class LocalStack:
    """A server and a worker per device, restarted when they die; leaving the context stops all of them."""

    def __init__(
        self,
        home: Path,
        host: str,
        port: int,
        *,
        say: Callable[[str], None],
        stops: StopRequests,
        devices: Sequence[str] | None = None,
    ) -> None:
        self.home = home
        self.host = host
        self.port = port or free_port(host)
        self.devices = devices
        self._say = say
        self._stops = stops
        self.supervisor = Supervisor(say)
        self._lock = FileLock(home / "up.lock", timeout=0)

    @property
    def url(self) -> str:
        """Where this machine reaches the server."""
        return f"{_scheme()}://{_reachable_host(self.host)}:{self.port}"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    def __enter__(self) -> Self:
        refuse_settings(self.home, self.host, self.port)
        # As root the embedded PostgreSQL runs under another account, which has to get through to its files.
        self.home.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
        try:
            self._lock.acquire()
        except Timeout:
            raise BadUsage(f"another `stagetune up` runs on {self.home}; stop it, or choose another --home") from None
        try:
            refuse_taken_port(self.host, self.port)
            self.supervisor.start(self._server())
            # Looking for devices takes torch's import; the server starts meanwhile.
            devices = find_devices() if self.devices is None else self.devices
            self._await_server()
            for device in devices:
                self.supervisor.start(self._worker(device))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def tick(self) -> None:
        """Keep the children alive. Raises when the server cannot be kept alive."""
        self.supervisor.tick()
        server = self.supervisor.children[SERVER]
        if server.given_up:
            log = server.spec.log
            raise StagetuneError(f"the server does not stay up; its log {log} ends:\n{last_lines(log)}")

    @property
    def workers_lost(self) -> bool:
        """Whether there are workers and every one was given up."""
        workers = [child for name, child in self.supervisor.children.items() if name != SERVER]
        return bool(workers) and all(child.given_up for child in workers)

    def serve(self) -> None:
        """Keep everything alive until asked to stop."""
        while not self._stops.asked:
            self.tick()
            time.sleep(TICK_SECONDS)

    def pause(self, seconds: float) -> None:
        """Sleep with an eye on the children. Raises Interrupted when asked to stop."""
        end = time.monotonic() + seconds
        while True:
            if self._stops.asked:
                raise Interrupted("interrupted")
            self.tick()
            if self.workers_lost:
                raise StagetuneError(f"no worker stays up; see the logs in {self.logs}")
            if time.monotonic() >= end:
                return
            time.sleep(TICK_SECONDS)

    def wait_until(self, reached: Callable[[], bool], seconds: float, what: str) -> None:
        """Pause until something is the case."""
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                raise StagetuneError(f"waited {seconds:.0f} s for {what}; see the logs in {self.logs}")
            self.pause(TICK_SECONDS)

    def stop(self) -> None:
        """Drain the workers, then stop the server and, if the server could not, its database."""
        workers = [name for name in self.supervisor.children if name != SERVER]
        self.supervisor.stop(workers, WORKER_GRACE_SECONDS, lambda: self._stops.hurried)
        # Even in a hurry the server gets a moment to close its database.
        started = time.monotonic()
        hasty = lambda: self._stops.hurried and time.monotonic() - started > HURRIED_SERVER_SECONDS  # noqa: E731
        self.supervisor.stop([SERVER], SERVER_GRACE_SECONDS, hasty)
        stop_database(self.home)
        self._lock.release()

    def _await_server(self) -> None:
        self.wait_until(lambda: _ready(self.url), READY_SECONDS, f"the server at {self.url} to be ready")

    def _server(self) -> ChildSpec:
        environment = self._environment() | {"STAGETUNE_HOST": self.host, "STAGETUNE_PORT": str(self.port)}
        return ChildSpec(SERVER, python_module("service"), environment, self.logs / "server.log")

    def _worker(self, device: str) -> ChildSpec:
        name = f"worker-{device.replace(':', '')}"
        command = [
            *python_module("worker"), "--server", self.url, "--token-file", str(self.home / "worker-token"),
            "--device", device, "--name", worker_name(device), "--home", str(self.home),
        ]  # fmt: skip
        environment = {key: value for key, value in self._environment().items() if key not in _SERVER_SECRETS}
        if datasets := environment.get("STAGETUNE_DATASETS"):
            command += ["--datasets", datasets]
        return ChildSpec(name, command, environment, self.logs / f"{name}.log")

    def _environment(self) -> dict[str, str]:
        # Tokens meant for this command are none of its children's business.
        inherited = {key: value for key, value in os.environ.items() if key not in _CLIENT_VARIABLES}
        return inherited | {"STAGETUNE_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}


_CLIENT_VARIABLES = {"STAGETUNE_SERVER", "STAGETUNE_TOKEN", "STAGETUNE_TOKEN_FILE"}
_SERVER_SECRETS = {"STAGETUNE_DATABASE_URL", "STAGETUNE_DATABASE_PASSWORD_FILE"}


def python_module(name: str) -> list[str]:
    """The command that runs one of our packages; a folder of that name where the user stands must not shadow it."""
    checkout = Path(__file__).resolve().parents[1]
    safe = [] if Path.cwd() == checkout else ["-P"]
    return [sys.executable, *safe, "-m", name]


def free_port(host: str) -> int:
    """A port nobody listens on."""
    with socket.create_server((host, 0), family=_family(host)) as listening:
        return int(listening.getsockname()[1])


def refuse_settings(home: Path, host: str, port: int) -> None:
    """Raise a BadUsage with what the server would refuse: a variable it cannot read, a host other machines reach."""
    from service.settings import Settings, SettingsError

    try:
        Settings.load(home=home, host=host, port=port)
    except SettingsError as error:
        raise BadUsage(str(error)) from None


def refuse_taken_port(host: str, port: int) -> None:
    """Raise a BadUsage that says what to do when the port is taken."""
    try:
        socket.create_server((host, port), family=_family(host)).close()
    except OSError as error:
        url = f"{_scheme()}://{_reachable_host(host)}:{port}"
        if _alive(url):
            raise BadUsage(f"a stagetune server answers at {url} already; --port 0 starts another") from None
        raise BadUsage(
            f"cannot listen on {host}:{port}: {error.strerror or error}; --port 0 takes a free one"
        ) from None


def stop_database(home: Path) -> None:
    """Stop the embedded PostgreSQL of a home unless another process uses it."""
    if not (home / "postgres.json").exists():
        return
    from service.postgres import EmbeddedPostgres

    EmbeddedPostgres(home).stop()


def database_folder(home: Path) -> Path | None:
    """Where the embedded PostgreSQL of a home has its files; as root that is not in the home."""
    if not (home / "postgres.json").exists():
        return None
    from service.postgres import EmbeddedPostgres

    return EmbeddedPostgres(home).data.parent


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _reachable_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _scheme() -> str:
    """How the server will be spoken to, by the settings that it is started with."""
    return "https" if os.environ.get("STAGETUNE_TLS_CERTIFICATE") else "http"


def _ready(url: str) -> bool:
    return _status(f"{url}/readyz") == 200


def _alive(url: str) -> bool:
    return _status(f"{url}/healthz") == 200


def _status(url: str) -> int | None:
    # Whether a server answers here is all that is asked, and no secret goes along.
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        return httpx.get(url, timeout=5.0, trust_env=False, verify=anybody).status_code
    except httpx.HTTPError:
        return None
