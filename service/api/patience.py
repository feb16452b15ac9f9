"""How long the server waits for its clients: for the head of a request, and for its body.

A connection costs memory and a file; without an end to patience a thousand silent ones keep everybody else out.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.api.problems import problem

# A body may pause for as long as its seconds; what arrives earns them back at this rate, in bytes a second.
SLOWEST_BODY = 1_000


class WaitingRoom:
    """Connections from which a whole head of a request is still to come, those that wait longest first.

    A head has ``seconds`` from the opening of the connection or from the end of the answer before. At most ``most``
    wait: then the one that has waited longest makes room, so that files are left for those who do ask.
    """

    def __init__(self, seconds: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._since: dict[Connection, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def enter(self, connection: "Connection") -> None:
        """A head is to come."""
        self.leave(connection)
        self._since[connection] = self._clock()
        if len(self._since) > self._most:
            self._dismiss(next(iter(self._since)))

    def leave(self, connection: "Connection") -> None:
        """A head has come, or the connection is gone."""
        self._since.pop(connection, None)

    def sweep(self) -> None:
        """End those that have waited too long."""
        oldest = self._clock() - self._seconds
        for connection in [connection for connection, since in self._since.items() if since < oldest]:
            self._dismiss(connection)

    def _dismiss(self, connection: "Connection") -> None:
        self.leave(connection)
        # Without farewell: what has not asked expects no answer, and might never take it.
        connection.transport.abort()


class PatientConfig(uvicorn.Config):
    """Uvicorn's settings, and where connections wait."""

    def __init__(self, app: ASGIApp, room: WaitingRoom, **settings: Any) -> None:
        super().__init__(app, http=Connection, **settings)
        self.room = room


class Connection(H11Protocol):
    """Uvicorn's connection, which by itself waits for ever for a head that never ends."""

    config: PatientConfig

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self.config.room.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self.config.room.leave(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Wait no longer once a request has begun."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.cycle.response_complete:
            self.config.room.leave(self)

    def on_response_complete(self) -> None:
        """Wait for the next head, what is left of the body before it included."""
        # First: the next request may have come already, and then begins in here.
        if not self.transport.is_closing():
            self.config.room.enter(self)
        super().on_response_complete()


class BodyPatience:
    """Answers 408 to a body that comes too slowly; only the time spent waiting for the client counts."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        clock = asyncio.get_running_loop().time
        left = self.seconds
        whole = late = started = False

        async def receive_in_time() -> Message:
            nonlocal left, whole, late
            if whole:
                return await receive()
            if not late:
                asked = clock()
                try:
                    async with asyncio.timeout(left):
                        message = await receive()
                except TimeoutError:
                    late = True
                else:
                    whole = not message.get("more_body", False)
                    earned = len(message.get("body", b"")) / SLOWEST_BODY
                    left = min(self.seconds, left - (clock() - asked) + earned)
                    return message
            return {"type": "http.disconnect"}

        async def send_unless_late(message: Message) -> None:
            nonlocal started
            # What the application says of a body that ended too soon is not what happened.
            if started or not late:
                started = True
                await send(message)

        await self.app(scope, receive_in_time, send_unless_late)
        if late and not started:
            detail = f"the body paused for too long, or came with less than {SLOWEST_BODY} bytes a second"
            await problem("request-timeout", detail, headers={"Connection": "close"})(scope, receive, send)
