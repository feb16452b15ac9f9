"""A disk that is full, or that nobody may write to: a typed answer, nothing half there, and work goes on after it."""

import contextlib
import hashlib
import json
import resource
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.service.api.helpers import checkpoint, fence, hold_task
from tests.survival.conftest import Serve, rows_of
from tests.survival.servers import Server, until

pytestmark = pytest.mark.chaos

MB = 1024**2


def put(worker: httpx.Client, held: dict[str, str], seed: int) -> httpx.Response:
    sha256, data = checkpoint(seed)
    return worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(held), content=data)


def files(server: Server) -> list[Path]:
    return [path for path in (server.home / "artifacts").rglob("*") if path.is_file()]


def test_a_server_without_room_says_so_serves_on_and_recovers(serve: Serve, database_url: str) -> None:
    server = serve(database_url, STAGETUNE_LOG_LEVEL="error").start()
    with server.client("worker") as worker, server.client() as admin:
        held = hold_task(admin, worker)
        before = files(server)
        # No file of this process may grow beyond so many bytes, its log included.
        room = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (16, room[1]))
        refused = put(worker, held, 1)
        assert (refused.status_code, refused.json()["type"]) == (507, "/problems/storage-full")
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert files(server) == before
        ask = {"worker": held["worker"], "request_id": str(uuid4()), "wait_seconds": 20}
        task = worker.post("/v1/worker/leases", json=ask).json()
        beat = worker.post(f"/v1/worker/tasks/{task['task']}/attempts/{task['attempt']}/heartbeat", json={})
        assert beat.json()["command"] == "continue"
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, room)
        assert put(worker, held, 1).status_code == 201
        admin.post(f"/v1/experiments/{held['experiment']}/cancel")
    assert server.stop() == 0


def test_a_folder_that_cannot_be_written_is_told_and_recovered_from(serve: Serve, database_url: str) -> None:
    server = serve(database_url).start()
    incoming = server.home / "artifacts" / "tmp"
    with server.client("worker") as worker, server.client() as admin:
        held = hold_task(admin, worker)
        incoming.rename(incoming.with_name("aside"))
        # Not even root makes files there.
        incoming.symlink_to("/proc/self/fdinfo")
        refused = put(worker, held, 2)
        assert (refused.status_code, refused.json()["type"]) == (507, "/problems/storage-full")
        until(lambda: not server.answers(), "a server that is not ready")
        ready = httpx.get(f"{server.url}/readyz", trust_env=False)
        assert "written" in ready.json()["checks"]["artifacts"]
        incoming.unlink()
        incoming.with_name("aside").rename(incoming)
        assert put(worker, held, 2).status_code == 201
        until(server.answers, "a server that is ready again")
    sha256, _ = checkpoint(2)
    assert rows_of(database_url, f"SELECT count(*) FROM artifact WHERE sha256 = '{sha256}'") == [(1,)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if not _mount(place, "size=16m"):
        pytest.skip("nobody may mount here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def _mount(place: Path, options: str) -> bool:
    """Whether a file system in memory could be mounted there, or the one that is there made another."""
    mounting = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    return (
        shutil.which("mount") is not None and not subprocess.run(mounting, check=False, capture_output=True).returncode
    )


def test_a_disk_fills_up_to_what_is_spared_and_takes_uploads_again(
    small_disk: Path, serve: Serve, database_url: str
) -> None:
    server = serve(database_url, STAGETUNE_ARTIFACTS=str(small_disk), STAGETUNE_ARTIFACT_SPARE_BYTES=str(4 * MB))
    server.start()
    with server.client("worker") as worker, server.client() as admin:
        held = hold_task(admin, worker)

        def send(number: int) -> httpx.Response:
            header = json.dumps({"w": {"dtype": "U8", "shape": [5 * MB], "data_offsets": [0, 5 * MB]}}).encode()
            data = struct.pack("<Q", len(header)) + header + bytes([number]) * 5 * MB
            name = hashlib.sha256(data).hexdigest()
            return worker.put(f"/v1/worker/artifacts/{name}", params=fence(held), content=data)

        assert [send(number).status_code for number in (1, 2)] == [201, 201]
        # Refused for the sake of what is spared, then because a neighbour has filled the disk to its last byte.
        for rest in (0, 4 * MB):
            filler = small_disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                file.write(bytes(rest))
                file.write(bytes(rest))
            refused = send(3)
            assert (refused.status_code, refused.json()["type"]) == (507, "/problems/storage-full")
            assert list((small_disk / "tmp").iterdir()) == []
            assert shutil.disk_usage(small_disk).free >= 4 * MB - rest
        until(lambda: not server.answers(), "a server that is not ready")
        path = f"/v1/worker/tasks/{held['task']}/attempts/{held['attempt']}/heartbeat"
        assert worker.post(path, json={}).json()["command"] == "continue"
        filler.unlink()
        assert _mount(small_disk, "remount,size=32m")
        assert send(3).status_code == 201
        until(server.answers, "a server that is ready again")
