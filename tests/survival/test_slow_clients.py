"""S11: connections that are silent or drip keep nobody out, and are ended."""

import socket
import threading
import time

import pytest

from bench.crowd import BODY, SILENT, SLOW_BODY, SLOW_HEAD, TOKENLESS, Crowd, Manner
from tests.survival.conftest import Serve
from tests.survival.servers import Background, Drone, Server, until

pytestmark = pytest.mark.chaos

SECONDS = "2"
CROWD = {SILENT: 100, SLOW_HEAD: 50, SLOW_BODY: 10, TOKENLESS: 10}


@pytest.fixture
def server(serve: Serve, database_url: str) -> Server:
    return serve(database_url, STAGETUNE_HEAD_SECONDS=SECONDS, STAGETUNE_BODY_SECONDS=SECONDS).start()


def with_token(server: Server, manner: Manner, role: str) -> Manner:
    token = (server.home / f"{role}-token").read_text().strip()
    return Manner(manner.opening.replace(b"Host:", f"Authorization: Bearer {token}\r\nHost:".encode(), 1), manner.drip)


def test_silent_and_dripping_connections_keep_nobody_out_and_are_ended(
    server: Server, request: pytest.FixtureRequest
) -> None:
    known = with_token(server, SLOW_BODY, "worker")
    drone = Drone(server)
    request.addfinalizer(drone.close)
    answered: dict[str, int] = {"worker": 0, "admin": 0}
    enough = threading.Event()

    def beat() -> None:
        while not enough.is_set():
            drone.register()
            assert drone.work() is False
            answered["worker"] += 1

    def look() -> None:
        with server.client() as admin:
            while not enough.wait(0.1):
                assert admin.get("/v1/experiments").status_code == 200
                answered["admin"] += 1

    others = [Background(beat), Background(look)]
    with Crowd(server.port, CROWD | {known: 10}, drip_seconds=0.1) as crowd:
        for other in others:
            other.start()
        until(lambda: crowd.ended == sum(CROWD.values()) + 10, "all of them to be ended")
        assert len(crowd) == 0
        enough.set()
    for other in others:
        other.result()
    assert min(answered.values()) >= 2
    assert drone.statuses == {200, 204}
    assert b"".join(crowd.answers[SILENT] + crowd.answers[SLOW_HEAD]) == b""
    # Each is told, unless the end overtook the answer on its way.
    assert b"/problems/request-timeout" in b"".join(crowd.answers[known])
    assert b"/problems/not-found" in b"".join(crowd.answers[TOKENLESS])
    assert "Traceback" not in server.said()


def test_a_body_that_comes_steadily_is_read_to_its_end(serve: Serve, database_url: str) -> None:
    server = serve(database_url, STAGETUNE_BODY_SECONDS="5").start()
    token = (server.home / "worker-token").read_text().strip()
    body = b'{"name": "slow", "device": "cpu"}'.ljust(30_000)
    head = BODY.replace(b"100000", b"30000")
    head = head.replace(b"Host:", f"Connection: close\r\nAuthorization: Bearer {token}\r\nHost:".encode(), 1)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head)
        # Its pauses are longer than a body may pause in all, but it earns them.
        for at in range(0, len(body), 1_000):
            time.sleep(0.2)
            connection.sendall(body[at : at + 1_000])
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")


def test_when_files_run_short_the_one_that_waits_longest_makes_room(serve: Serve, database_url: str) -> None:
    files = 160
    server = serve(database_url, files=files, STAGETUNE_HEAD_SECONDS="600").start()
    with Crowd(server.port, {SILENT: 2 * files}) as crowd:
        until(lambda: len(crowd) <= files // 2, "room to be made")
        assert server.answers()
    assert server.stop() == 0
