"""A real S3 server on this machine, and a store of every kind."""

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.artifacts import ArtifactStore, Bucket, Folder

LIMIT = 40_000_000


def _program() -> str:
    """moto's server: in an environment of its own, since its requirements and ours do not go together."""
    program = os.environ.get("STAGETUNE_TEST_MOTO") or shutil.which("moto_server")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("no moto_server: .ci/run installs one and names it in STAGETUNE_TEST_MOTO")
        pytest.skip("no moto_server in PATH or STAGETUNE_TEST_MOTO")
    return program


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an S3 server, which the environment names to every bucket."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as output, pytest.MonkeyPatch.context() as patch:
        settings = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
            "AWS_ALLOW_HTTP": "true",
        }
        server = subprocess.Popen(
            [_program(), "--host", "127.0.0.1", "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 60
            while not _answers(url):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            for name, value in settings.items():
                patch.setenv(name, value)
            yield url
        finally:
            server.terminate()
            server.wait()


@pytest.fixture
def bucket_url(s3_endpoint: str) -> str:
    """A prefix in an empty bucket."""
    name = f"test-{uuid.uuid4().hex}"
    httpx.put(f"{s3_endpoint}/{name}", timeout=20).raise_for_status()
    return f"s3://{name}/some/prefix"


@pytest.fixture
def folder_store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(Folder(tmp_path / "artifacts"), tmp_path / "artifacts" / "tmp", LIMIT)


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, folder_store: ArtifactStore) -> ArtifactStore:
    """A store in a folder, and one in a bucket."""
    if request.param == "folder":
        return folder_store
    return ArtifactStore(Bucket(request.getfixturevalue("bucket_url")), tmp_path / "incoming", LIMIT)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code < 500
    except httpx.TransportError:
        return False
