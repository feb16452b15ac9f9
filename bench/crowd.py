"""Clients that keep connections open and ask nothing, or so slowly that it never becomes a request."""

import resource
import select
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
BODY = (
    b"PUT /v1/worker/workers/00000000-0000-4000-8000-000000000000 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
)


@dataclass(frozen=True)
class Manner:
    """What a connection sends at once, and then with every drop."""

    opening: bytes = b""
    drip: bytes = b""


SILENT = Manner()
SLOW_HEAD = Manner(HEAD, b"x")
SLOW_BODY = Manner(BODY, b" ")
# Refused for its lack of a token, with a body that goes on afterwards.
TOKENLESS = Manner(BODY.replace(b"PUT /v1", b"PUT /nowhere"), b" ")


class Crowd:
    """Connections of several manners, served by a thread; ``again`` opens those anew that the server has ended."""

    def __init__(
        self, port: int, members: dict[Manner, int], *, drip_seconds: float = 0.5, again: bool = False
    ) -> None:
        self._port, self._members, self._pause, self._again = port, members, drip_seconds, again
        self._open: dict[int, tuple[socket.socket, Manner]] = {}
        self._poll = select.poll()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._crowd, daemon=True)
        self.answers: dict[Manner, list[bytes]] = {manner: [] for manner in members}
        self.ended = 0

    def __enter__(self) -> Self:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for manner, number in self._members.items():
            for _ in range(number):
                self._connect(manner)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join()
        for connection, _ in self._open.values():
            connection.close()

    def __len__(self) -> int:
        """How many are open now."""
        return len(self._open)

    def _connect(self, manner: Manner) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        connection.sendall(manner.opening)
        connection.setblocking(False)
        self._open[connection.fileno()] = connection, manner
        self._poll.register(connection, select.POLLIN)

    def _crowd(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            for number, _ in self._poll.poll(100):
                self._read(number)
            if time.monotonic() < due:
                continue
            due = time.monotonic() + self._pause
            for number, (connection, manner) in list(self._open.items()):
                try:
                    connection.send(manner.drip)
                except BlockingIOError:
                    continue
                except OSError:
                    self._end(number)

    def _read(self, number: int) -> None:
        connection, manner = self._open[number]
        try:
            received = connection.recv(65_536)
        except OSError:
            received = b""
        if received:
            self.answers[manner].append(received)
        else:
            self._end(number)

    def _end(self, number: int) -> None:
        connection, manner = self._open.pop(number)
        self._poll.unregister(number)
        connection.close()
        self.ended += 1
        if self._again:
            self._connect(manner)
