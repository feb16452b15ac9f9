"""``python -m service``: the server until SIGTERM or Ctrl-C."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import uvicorn

from service.api.bell import Bell
from service.api.patience import PatientConfig, WaitingRoom
from service.app import StartError, create_app
from service.logging import configure_logging
from service.settings import Settings, SettingsError

GRACE_SECONDS = 10
_USAGE = 2
_HEADER_BYTES = 16 * 1024
_FILES = 10_000
_UNREAD_SECONDS = 60
_TURN_SECONDS = 0.0005


class Server(uvicorn.Server):
    """Uvicorn that says where it serves, and lets streams end themselves as soon as it is asked to stop."""

    def __init__(self, config: PatientConfig, bell: Bell, url: str, home: Path) -> None:
        super().__init__(config)
        self._room, self._bell, self._url, self._home = config.room, bell, url, home

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Announce the address once requests are answered, to people and to clients on this machine."""
        await super().startup(sockets)
        if self.started:
            announced = self._home / "connection.json"
            # In one piece: somebody may be waiting for it.
            with tempfile.NamedTemporaryFile("w", dir=self._home, prefix=".connection-", delete=False) as file:
                file.write(json.dumps({"url": self._url, "pid": os.getpid()}) + "\n")
            Path(file.name).replace(announced)
            print(f"stagetune serves {self._url}", flush=True)  # noqa: T201 - for who started it

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: end connections that have waited too long."""
        self._room.sweep()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ask to stop; the second Ctrl-C does not wait for requests."""
        self._bell.close()
        super().handle_exit(sig, frame)


def main() -> int:
    """Serve; the exit code is 0 after a stop that was asked for, 1 when the server cannot start, 2 for a setting."""
    try:
        settings = Settings.load()
    except SettingsError as error:
        return _fail(str(error), _USAGE)
    configure_logging(settings.log_level, settings.log_format)
    with _stopped_by_signals():
        try:
            listening = listen(settings.host, settings.port)
        except OSError as error:
            reason = error.strerror or str(error)
            address = f"{settings.host}:{settings.port}"
            return _fail(f"cannot listen on {address}: {reason}; STAGETUNE_PORT=0 takes a free port")
        with listening:
            return _serve(settings, listening)


def _serve(settings: Settings, listening: socket.socket) -> int:
    if settings.tls_certificate is not None and settings.tls_key is not None:
        try:
            # Without a password of our own OpenSSL would ask for one on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                settings.tls_certificate, settings.tls_key, password=str
            )
        except (ssl.SSLError, OSError) as error:
            return _fail(f"STAGETUNE_TLS_CERTIFICATE and STAGETUNE_TLS_KEY cannot be used: {error}", _USAGE)
    # After every statement a request waits until it may go on in Python: shorter turns of the others let it sooner.
    sys.setswitchinterval(_TURN_SECONDS)
    app = create_app(settings)
    _spare_collections()
    config = PatientConfig(
        app,
        # Half of the files are for connections that do not ask, or not yet say who asks; the database, artifacts and
        # requests need theirs.
        WaitingRoom(settings.head_seconds, most=_files() // 2),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        head_bytes=_HEADER_BYTES,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    url = _url(settings.scheme, settings.host, listening.getsockname()[1])
    server = Server(config, app.state.bell, url, settings.home)
    # A failed start is told below in one line; uvicorn would add two tracebacks.
    logging.getLogger("uvicorn.error").addFilter(lambda _: server.started)
    try:
        asyncio.run(server.serve(sockets=[listening]))
    except SystemExit:
        failure = app.state.start_failure
        return _fail(str(failure) if isinstance(failure, StartError) else f"the server did not start: {failure!r}")
    finally:
        _forget(settings.home)
    return 0


def _spare_collections() -> None:
    """Collect garbage more seldom, and never look at what is there for good: every look stops all requests.

    What requests leave behind is freed at once by its count of references; a collection finds next to nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def listen(host: str, port: int) -> socket.socket:
    """The socket to serve on, taken before anything else is started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=512)
    # Head and body of an answer are two writes: without this the second waits for the client to acknowledge the first,
    # 40 ms. asyncio would set it itself, but not on what a socket made without a protocol number has accepted.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Connections inherit this as well: one that takes nothing of its answer for so long is ended by the system.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _UNREAD_SECONDS)
    return listening


def _files() -> int:
    """How many files the process may have open, after asking for as many as it may ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most if soft == resource.RLIM_INFINITY else max(soft, most)


def _url(scheme: str, host: str, port: int) -> str:
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - compared, not bound
    return f"{scheme}://{name}:{port}"


def _forget(home: Path) -> None:
    """Remove the announcement if it is still this server's."""
    path = home / "connection.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(path.read_text())["pid"] == os.getpid():
            path.unlink()


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Uvicorn raises the signal that stopped it once more; here a stop that was asked for is a success."""

    def stopped(_: int, __: FrameType | None) -> None:
        return

    previous = {sig: signal.signal(sig, stopped) for sig in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for sig, handler in previous.items():
            signal.signal(sig, handler)


def _fail(message: str, status: int = 1) -> int:
    print(f"stagetune: {message}", file=sys.stderr)  # noqa: T201 - before there is a log
    return status


if __name__ == "__main__":
    sys.exit(main())
