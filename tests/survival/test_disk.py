"""A disk that is full, or that nobody may write to: a typed answer, nothing half there, and work goes on after it."""

import resource
from pathlib import Path

import httpx
import pytest

from tests.service.api.helpers import checkpoint, submission
from tests.survival.conftest import Serve, rows_of
from tests.survival.servers import Drone, Server

pytestmark = pytest.mark.chaos


def put(worker: httpx.Client, seed: int) -> httpx.Response:
    sha256, data = checkpoint(seed)
    return worker.put(f"/v1/worker/artifacts/{sha256}", content=data)


def files(server: Server) -> list[Path]:
    return [path for path in (server.home / "artifacts").rglob("*") if path.is_file()]


def test_a_server_without_room_says_so_serves_on_and_recovers(serve: Serve, module_database: str) -> None:
    server = serve(module_database, STAGETUNE_LOG_LEVEL="error").start()
    drone = Drone(server)
    drone.register()
    with server.client("worker") as worker, server.client() as admin:
        before = files(server)
        # No file of this process may grow beyond so many bytes, its log included.
        room = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (16, room[1]))
        refused = put(worker, 1)
        assert (refused.status_code, refused.json()["type"]) == (507, "/problems/storage-full")
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert files(server) == before
        made = admin.post("/v1/experiments", json=submission(reuse=False)).json()["id"]
        ask = {"worker": drone.id, "request_id": made, "wait_seconds": 20}
        task = worker.post("/v1/worker/leases", json=ask).json()
        beat = worker.post(f"/v1/worker/tasks/{task['task']}/attempts/{task['attempt']}/heartbeat", json={})
        assert beat.json()["command"] == "continue"
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, room)
        assert put(worker, 1).status_code == 201
        admin.post(f"/v1/experiments/{made}/cancel")
    assert server.stop() == 0
    drone.close()


def test_a_folder_that_cannot_be_written_is_told_and_recovered_from(serve: Serve, module_database: str) -> None:
    server = serve(module_database).start()
    incoming = server.home / "artifacts" / "tmp"
    with server.client("worker") as worker:
        incoming.rename(incoming.with_name("aside"))
        # Not even root makes files there.
        incoming.symlink_to("/proc/self/fdinfo")
        refused = put(worker, 2)
        assert (refused.status_code, refused.json()["type"]) == (507, "/problems/storage-full")
        ready = httpx.get(f"{server.url}/readyz", trust_env=False)
        assert ready.status_code == 503
        assert "written" in ready.json()["checks"]["artifacts"]
        incoming.unlink()
        incoming.with_name("aside").rename(incoming)
        assert put(worker, 2).status_code == 201
        assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200
    sha256, _ = checkpoint(2)
    assert rows_of(module_database, f"SELECT count(*) FROM artifact WHERE sha256 = '{sha256}'") == [(1,)]
