"""A stop that is asked for comes soon, whoever is listening, and streams hold no connection of the database."""

import pytest

from tests.service.api.helpers import submission
from tests.survival.conftest import Serve, rows_of
from tests.survival.servers import Background, Drone, until

pytestmark = pytest.mark.chaos

STREAMS = 20


def test_streams_and_waiting_claims_end_with_the_server(serve: Serve, database_url: str) -> None:
    server = serve(database_url, STAGETUNE_THREADS="4").start()
    drone = Drone(server)
    drone.register()
    opened: list[int] = []
    with server.client() as admin:
        made = admin.post("/v1/experiments", json=submission(reuse=False)).json()["id"]
        admin.post(f"/v1/experiments/{made}/pause")

        def listen() -> None:
            with server.client() as client, client.stream("GET", f"/v1/experiments/{made}/events") as answer:
                for _ in answer.iter_lines():
                    if not opened or opened[-1] != id(answer):
                        opened.append(id(answer))

        def wait() -> None:
            ask = {"worker": drone.id, "request_id": made, "wait_seconds": 30}
            with server.client("worker") as client:
                assert client.post("/v1/worker/leases", json=ask).status_code == 204

        listeners = [Background(listen) for _ in range(STREAMS)]
        for thread in (*listeners, waiting := Background(wait)):
            thread.start()
        until(lambda: len(set(opened)) == STREAMS, "all streams")
        connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        # More streams than connections and threads, and others are still served.
        assert rows_of(database_url, connections)[0][0] < STREAMS
        for _ in range(10):
            assert admin.get(f"/v1/experiments/{made}").status_code == 200
    # Its exit status is that of a clean end: connections that had to be cut would have taken the full grace.
    assert server.stop() == 0
    for thread in (*listeners, waiting):
        thread.result()
    assert "Cancel" not in server.said(), "nothing had to be cancelled"
    drone.close()
