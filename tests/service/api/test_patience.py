"""Whoever does not say who asks keeps nobody out: of real servers with few files."""

import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from bench.crowd import BODY, SILENT, Crowd, Manner
from service.api.patience import WaitingRoom
from tests.survival.servers import Server, until

pytestmark = pytest.mark.chaos

FILES = 160
LOGIN = b"POST /v1/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
SLOW_LOGIN = Manner(LOGIN, b" ")
HALF_A_GREETING = Manner(b"\x16\x03\x01\x02\x00\x01", b"")
LONG = {"STAGETUNE_HEAD_SECONDS": "600", "STAGETUNE_BODY_SECONDS": "600"}

Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path, module_database: str) -> Iterator[Serve]:
    made: list[Server] = []

    def make(**settings: Any) -> Server:
        made.append(Server(tmp_path, module_database, **settings))
        return made[-1]

    yield make
    for server in made:
        server.end()


def test_bodies_of_strangers_make_room_and_those_of_others_are_waited_for(serve: Serve) -> None:
    server = serve(files=FILES, STAGETUNE_LOGINS_PER_MINUTE="0", **LONG).start()
    token = (server.home / "worker-token").read_text().strip()
    body = b'{"name": "slow", "device": "cpu"}'.ljust(1_000)
    head = BODY.replace(b"100000", b"1000")
    more = f"Connection: close\r\nExpect: 100-continue\r\nAuthorization: Bearer {token}\r\nHost:"
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as known:
        known.sendall(head.replace(b"Host:", more.encode(), 1))
        # What the server says once it knows who asks, and wants the body.
        assert known.recv(65_536).startswith(b"HTTP/1.1 100")
        known.sendall(body[:500])
        with Crowd(server.port, {SLOW_LOGIN: 2 * FILES}) as crowd:
            until(lambda: len(crowd) <= FILES // 2, "room to be made")
            assert server.answers()
            known.sendall(body[500:])
            assert known.recv(65_536).startswith(b"HTTP/1.1 200")
    assert server.stop() == 0


def test_headers_are_as_many_as_fit_however_they_come(serve: Serve) -> None:
    server = serve().start()
    head = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: "
    post = b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n\r\n"

    def headers(count: int) -> bytes:
        return head + b"close\r\n" + b"".join(b"a%d:b\r\n" % number for number in range(count)) + b"\r\n"

    for before, statuses in ((b"", []), (head + b"keep-alive\r\n\r\n", [b"200"]), (post + b"x", [b"404"])):
        assert answers_to(server, before + headers(1_500)) == [*statuses, b"200"]
        found = answers_to(server, before + headers(10_000))
        # The end of a connection of which not all was read may overtake an answer.
        assert found == [*statuses, b"400"][: len(found)]
    assert server.answers()
    assert "Traceback" not in server.said()


def answers_to(server: Server, text: bytes) -> list[bytes]:
    """The statuses of all answers to bytes that are sent in one piece, until the server ends the connection."""
    received = b""
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection,
    ):
        connection.sendall(text)
        while more := connection.recv(65_536):
            received += more
    return re.findall(rb"HTTP/1\.1 ([0-9]+)", received)


class Secure:
    """A server with a certificate, and how to speak to it."""

    def __init__(self, serve: Serve, folder: Path, **settings: Any) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        issued.private_key_pem.write_to_path(key)
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.trusted = ssl.create_default_context()
        authority.configure_trust(self.trusted)
        self.server = serve(STAGETUNE_TLS_CERTIFICATE=str(certificate), STAGETUNE_TLS_KEY=str(key), **settings)
        self.server.launch()
        until(lambda: not self.server.alive or self.answers(), "the server")

    def answers(self) -> bool:
        url = f"https://127.0.0.1:{self.server.port}/readyz"
        try:
            return httpx.get(url, verify=self.trusted, timeout=20, trust_env=False).is_success
        except httpx.TransportError:
            return False


def test_connections_that_never_greet_make_room(serve: Serve, tmp_path: Path) -> None:
    secure = Secure(serve, tmp_path, files=FILES, **LONG)
    with Crowd(secure.server.port, {SILENT: FILES, HALF_A_GREETING: FILES}) as crowd:
        until(lambda: len(crowd) <= FILES // 2, "room to be made")
        assert secure.answers()
    assert secure.server.stop() == 0


def test_a_greeting_has_as_long_as_a_head(serve: Serve, tmp_path: Path) -> None:
    secure = Secure(serve, tmp_path, STAGETUNE_HEAD_SECONDS="1")
    broken = Manner(b"GET /healthz HTTP/1.1\r\n\r\n", b"")
    with Crowd(secure.server.port, {SILENT: 10, HALF_A_GREETING: 10, broken: 10}) as crowd:
        # asyncio itself would wait for a minute.
        until(lambda: crowd.ended == 30, "all of them to be ended")
        assert secure.answers()
    assert "Traceback" not in secure.server.said()


def test_what_comes_together_with_the_greeting_is_not_lost(serve: Serve, tmp_path: Path) -> None:
    secure = Secure(serve, tmp_path)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = secure.trusted.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", secure.server.port), timeout=60) as connection:

        def step(do: Callable[[], Any]) -> Any:
            while True:
                try:
                    return do()
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    incoming.write(connection.recv(65_536))

        step(client.do_handshake)
        # The last words of the greeting and the request go out in one piece.
        client.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        connection.sendall(outgoing.read())
        assert step(lambda: client.read(65_536)).startswith(b"HTTP/1.1 200")


class Held:
    """Stands for a connection in a room."""

    def __init__(self) -> None:
        self.transport = self
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_a_room_ends_heads_that_are_late_and_keeps_counting_bodies() -> None:
    now = 0.0
    room = WaitingRoom(10, most=2, clock=lambda: now)
    head, body, known = Held(), Held(), Held()
    for each in (head, body):
        room.enter(each)  # type: ignore[arg-type]
    room.expect_body(body)  # type: ignore[arg-type]
    # Nobody is recognised before the head of a request is there.
    room.recognise(head)  # type: ignore[arg-type]
    now = 11.0
    room.sweep()
    assert (head.aborted, body.aborted, len(room)) == (True, False, 1)
    room.enter(known)  # type: ignore[arg-type]
    room.expect_body(known)  # type: ignore[arg-type]
    room.recognise(known)  # type: ignore[arg-type]
    # What has left does not come back with the next bytes of its body.
    room.expect_body(known)  # type: ignore[arg-type]
    assert len(room) == 1
    for _ in range(2):
        room.enter(Held())  # type: ignore[arg-type]
    assert (body.aborted, known.aborted, len(room)) == (True, False, 2)
