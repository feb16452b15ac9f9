"""A TCP proxy that damages what passes through it, in the ways networks and proxies do.

It sits between a worker and the server, or between the server and PostgreSQL. ``faults`` may be replaced at any time
and counts for connections that are open already, from their next bytes on.
"""

import asyncio
import contextlib
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")
Upstream = tuple[str, int] | Path

_CHUNK = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
# What a driver sends to commit, as a message of PostgreSQL's protocol: its kind, its length, the statement.
_COMMIT = b"Q" + struct.pack("!I", 4 + len(b"COMMIT\x00")) + b"COMMIT\x00"


@dataclass(frozen=True)
class Faults:
    """What happens to connections; seconds, bytes, and shares between 0 and 1."""

    delay: tuple[float, float] = (0.0, 0.0)
    """Every piece of data waits so long, between these bounds."""
    loss: float = 0.0
    """So many pieces of data are lost with their connection, which is reset."""
    blackhole: bool = False
    """Nothing arrives, in either direction, until this ends; then what was held back does."""
    half_open: bool = False
    """Requests arrive, answers never do: the connection stays open and is silent for ever."""
    reset_after: int | None = None
    """A connection is reset when the client has sent so many bytes."""
    cut_after: int | None = None
    """A connection is closed when the server has answered with so many bytes."""
    repeat: float = 0.0
    """So many requests reach the server twice; the client hears the second answer."""
    rate: int | None = None
    """Bytes a second and direction."""
    cut_commit: float = 0.0
    """So many COMMITs end their connection to PostgreSQL, before they arrive or after they were answered."""


HEALTHY = Faults()


class FaultProxy:
    """Listens on ``port`` of 127.0.0.1 and passes on to ``upstream``, a host and port or a Unix socket."""

    def __init__(self, upstream: Upstream, seed: int = 0) -> None:
        self.faults = HEALTHY
        self.requests = 0
        """HTTP answers that came by, including those of repeated requests."""
        self.statuses: Counter[int] = Counter()
        """The same by status."""
        self.done: Counter[str] = Counter()
        """What was done to connections, by the name of the fault."""
        self._upstream = upstream
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reset_all(self) -> None:
        """Reset every connection that is open now."""

        async def reset() -> None:
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task() and task.get_name() == "connection":
                    task.cancel()

        self._run(reset())

    def close(self) -> None:
        """Stop listening and reset what is open."""

        async def stop() -> None:
            self._server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._run(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> "FaultProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, Value]) -> Value:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("connection")
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await _Connection(self, reader, writer).run()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A fresh connection to the upstream."""
        if isinstance(self._upstream, Path):
            return await asyncio.open_unix_connection(self._upstream)
        return await asyncio.open_connection(*self._upstream)

    def happens(self, share: float) -> bool:
        """Whether something that happens in so many cases does now."""
        return share > 0 and self._random.random() < share

    def between(self, bounds: tuple[float, float]) -> float:
        return self._random.uniform(*bounds)


class _Damaged(Exception):
    """This connection ends here, and hard."""


class _Connection:
    """One client, and the server behind."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._sent = self._answered = 0
        self._request = bytearray()
        self._answering = False
        self._deaf = False
        self._commit_answers = False

    async def run(self) -> None:
        """Pass on in both directions until either side or a fault ends it."""
        try:
            self._server_reader, self._server_writer = await self._proxy.connect()
        except OSError:
            _reset(self._writer)
            return
        up, down = asyncio.ensure_future(self._up()), asyncio.ensure_future(self._down())
        try:
            done, _ = await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            damaged = any(isinstance(task.exception(), _Damaged | OSError) for task in done)
            end = _reset if damaged else asyncio.StreamWriter.close
            end(self._writer)
            end(self._server_writer)
        finally:
            for task in (up, down):
                task.cancel()
            for writer in (self._writer, self._server_writer):
                if not writer.is_closing():
                    _reset(writer)

    async def _up(self) -> None:
        """From the client to the server."""
        while data := await self._reader.read(_CHUNK):
            await self._pass(data)
            faults = self._proxy.faults
            if faults.reset_after is not None and self._sent + len(data) > faults.reset_after:
                await self._write(self._server_writer, data[: max(0, faults.reset_after - self._sent)])
                self._damage("reset_after")
            self._sent += len(data)
            if self._answering:
                self._request.clear()
                self._answering = False
            self._request += data
            if _COMMIT in data and self._proxy.happens(faults.cut_commit):
                if self._proxy.happens(0.5):
                    self._damage("cut_commit")
                self._commit_answers = True
            await self._write(self._server_writer, data)

    async def _down(self) -> None:
        """From the server to the client."""
        while data := await self._server_reader.read(_CHUNK):
            first = not self._answering
            self._answering = True
            if first and self._request and self._proxy.happens(self._proxy.faults.repeat):
                await self._repeat()
                continue
            if self._commit_answers:
                self._damage("cut_commit")
            if first and (status := _STATUS.match(data)):
                self._proxy.requests += 1
                self._proxy.statuses[int(status[1])] += 1
            await self._pass(data)
            faults = self._proxy.faults
            if faults.half_open or self._deaf:
                if not self._deaf:
                    self._proxy.done["half_open"] += 1
                self._deaf = True
                continue
            if faults.cut_after is not None and self._answered + len(data) > faults.cut_after:
                await self._write(self._writer, data[: max(0, faults.cut_after - self._answered)])
                self._proxy.done["cut_after"] += 1
                return
            self._answered += len(data)
            await self._write(self._writer, data)
        if self._deaf:
            # The client of a half-open connection is not told of its end either.
            await asyncio.Event().wait()

    async def _pass(self, data: bytes) -> None:
        """The faults that may befall any piece of data on its way."""
        faults = self._proxy.faults
        if self._proxy.happens(faults.loss):
            self._damage("loss")
        wait = self._proxy.between(faults.delay) + (len(data) / faults.rate if faults.rate else 0.0)
        if wait:
            self._proxy.done["slow"] += 1
            await asyncio.sleep(wait)
        if self._proxy.faults.blackhole:
            self._proxy.done["blackhole"] += 1
        while self._proxy.faults.blackhole:
            await asyncio.sleep(0.02)

    async def _repeat(self) -> None:
        """Send the request once more on a connection of its own; the answer to the first one is thrown away."""
        self._proxy.done["repeat"] += 1
        self._server_writer.close()
        self._server_reader, self._server_writer = await self._proxy.connect()
        await self._write(self._server_writer, bytes(self._request))
        self._request.clear()
        self._answering = False

    def _damage(self, fault: str) -> None:
        self._proxy.done[fault] += 1
        raise _Damaged(fault)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a machine does that is switched off and on again."""
    wire: socket.socket | None = writer.get_extra_info("socket")
    if wire is not None and wire.family == socket.AF_INET:
        with contextlib.suppress(OSError):
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
