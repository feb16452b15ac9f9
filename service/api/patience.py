"""How long the server waits for its clients: for the greeting of TLS, for the head of a request, and for its body.

A connection costs memory and a file; without an end to patience a thousand silent ones keep everybody else out.
"""

import asyncio
import math
import re
import ssl
import time
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.api.problems import problem

# A body may pause for as long as its seconds; what arrives earns them back at this rate, in bytes a second.
SLOWEST_BODY = 1_000
# As h11 has it.
_HEADS_END = re.compile(rb"\n\r?\n")


class WaitingRoom:
    """Connections of which it is not known yet who asks for what, those that wait longest first.

    From some a greeting or the head of a request is still to come: it has ``seconds`` from the opening of the
    connection, from the greeting or from the end of the answer before. From others it is the body, and they have not
    said yet who they are. At most ``most`` wait: then the one that has waited longest makes room, so that files are
    left for those who do ask.
    """

    def __init__(self, seconds: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._since: dict[Greeting | Connection, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def enter(self, connection: "Greeting | Connection") -> None:
        """A greeting or a head is to come."""
        self.leave(connection)
        self._since[connection] = self._clock()
        if len(self._since) > self._most:
            self._dismiss(next(iter(self._since)))

    def expect_body(self, connection: "Connection") -> None:
        """A head has come, and its body has not; how long that may take is for ``BodyPatience`` to say."""
        if connection in self._since:
            self._since[connection] = math.inf

    def recognise(self, connection: "Connection") -> None:
        """Who sends a body is known."""
        if self._since.get(connection) == math.inf:
            self.leave(connection)

    def leave(self, connection: "Greeting | Connection") -> None:
        """A request has come, or the connection is gone."""
        self._since.pop(connection, None)

    def sweep(self) -> None:
        """End those that have waited too long."""
        oldest = self._clock() - self._seconds
        for connection in [connection for connection, since in self._since.items() if since < oldest]:
            self._dismiss(connection)

    def _dismiss(self, connection: "Greeting | Connection") -> None:
        self.leave(connection)
        # Without farewell: what has not asked expects no answer, and might never take it.
        connection.transport.abort()


class PatientConfig(uvicorn.Config):
    """Uvicorn's settings, where connections wait, and how many bytes the head of a request may have."""

    def __init__(self, app: ASGIApp, room: WaitingRoom, *, head_bytes: int, **settings: Any) -> None:
        super().__init__(app, http=Greeting if settings.get("ssl_certfile") else Connection, **settings)
        self.room, self.head_bytes = room, head_bytes
        self.tls: ssl.SSLContext | None = None

    def load(self) -> None:
        """Take TLS out of asyncio's hands: it would tell of a connection only once it has greeted."""
        super().load()
        self.tls, self.ssl = self.ssl, None


class Greeting(asyncio.Protocol):
    """A connection that is to greet before it can ask anything; then a ``Connection`` takes over."""

    transport: asyncio.Transport

    def __init__(self, config: PatientConfig, **given: Any) -> None:
        self._config = config
        self._connection = Connection(config, **given)
        self._early = bytearray()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the greeting."""
        self.transport = transport
        self._config.room.enter(self)
        self._task = asyncio.get_running_loop().create_task(self._greet())

    def data_received(self, data: bytes) -> None:
        """Keep what came together with the end of the greeting."""
        self._early += data

    def connection_lost(self, _: Exception | None) -> None:
        """Wait no longer."""
        self._config.room.leave(self)

    async def _greet(self) -> None:
        secured = await self._secure()
        self._config.room.leave(self)
        if secured is None or secured.is_closing():
            self.transport.abort()
            return
        secured.set_protocol(self._connection)
        self._connection.connection_made(secured)
        if self._early:
            self._connection.data_received(bytes(self._early))

    async def _secure(self) -> asyncio.Transport | None:
        """The connection under TLS; None if that fails, or if there was no more room to wait for it."""
        assert self._config.tls is not None
        # One that is gone already would never say so again.
        if self.transport.is_closing():
            return None
        try:
            return await asyncio.get_running_loop().start_tls(self.transport, self, self._config.tls, server_side=True)
        except OSError:
            return None


class Reader(h11.Connection):
    """h11, which by itself looks at the length of a head only while some of it is to come."""

    def __init__(self, role: type[h11.SERVER], most: int) -> None:
        super().__init__(role, most)
        self._most = most

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """What comes next. Raises RemoteProtocolError, before it is parsed, for a head of more than ``most`` bytes."""
        if self.their_state is h11.IDLE:
            received, _ = self.trailing_data
            if len(received) > self._most and not _HEADS_END.search(received, 0, self._most):
                raise h11.RemoteProtocolError(f"the head has more than {self._most} bytes", error_status_hint=431)
        return super().next_event()


class Connection(H11Protocol):
    """Uvicorn's connection, which by itself waits for ever for a head that never ends."""

    config: PatientConfig
    cycle: RequestResponseCycle | None  # type: ignore[assignment]

    def __init__(
        self, config: PatientConfig, server_state: ServerState, app_state: dict[str, Any], **given: Any
    ) -> None:
        super().__init__(config, server_state, app_state, **given)
        self.conn = Reader(h11.SERVER, config.head_bytes)
        self._answered_by: Any = self.app
        self.app = self._answer

    async def _answer(self, scope: Any, receive: Receive, send: Send) -> None:
        async def receive_known() -> Message:
            # Guards find out who asks before a route asks for the body.
            if "identity" in scope["state"]:
                self.config.room.recognise(self)
            return await receive()

        await self._answered_by(scope, receive_known, send)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self.config.room.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self.config.room.leave(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Wait no longer once a request is whole."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.more_body:
                self.config.room.expect_body(self)
            else:
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
