"""TLS from end to end: a server with a certificate of its own, clients and workers that trust its authority."""

import contextlib
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import trustme

from client import Client
from client.errors import BadUsage, ServerUnreachable
from contract.tasks import WorkerRegistration
from worker.client import ServerClient, Unreachable

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Serving:
    url: str
    home: Path
    ca_file: Path


def start(home: Path, database_url: str, certificate: Path, key: Path) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STAGETUNE_")}
    settings = {
        "STAGETUNE_HOME": str(home),
        "STAGETUNE_DATABASE_URL": database_url,
        "STAGETUNE_PORT": "0",
        "STAGETUNE_TLS_CERTIFICATE": str(certificate),
        "STAGETUNE_TLS_KEY": str(key),
    }
    command = [sys.executable, "-m", "service"]
    return subprocess.Popen(command, env=kept | settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def serving(tmp_path: Path, database_url: str) -> Iterator[Serving]:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    ca_file, certificate, key = tmp_path / "ca.pem", tmp_path / "certificate.pem", tmp_path / "key.pem"
    authority.cert_pem.write_to_path(ca_file)
    issued.private_key_pem.write_to_path(key)
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    home = tmp_path / "home"
    process = start(home, database_url, certificate, key)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith("stagetune serves https://127.0.0.1:"), process.communicate()
        yield Serving(line.removeprefix("stagetune serves "), home, ca_file)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def test_clients_and_workers_speak_to_whom_they_trust(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads((serving.home / "connection.json").read_text())["url"] == serving.url
    admin = (serving.home / "admin-token").read_text().strip()
    with Client(serving.url, admin, ca_file=serving.ca_file) as client:
        assert client.workers() == []
        code = client.create_login_code().code
    monkeypatch.setenv("STAGETUNE_CA_FILE", str(serving.ca_file))
    with Client(serving.url, admin) as client:
        assert client.workers() == []
    monkeypatch.delenv("STAGETUNE_CA_FILE")
    with Client(serving.url, admin, patience=0.1) as client, pytest.raises(ServerUnreachable, match="CERTIFICATE"):
        client.workers()

    token = (serving.home / "worker-token").read_text().strip()
    registration = WorkerRegistration(name="w", device="cpu")
    with (
        contextlib.closing(ServerClient(serving.url, token, 1.0, serving.ca_file)) as trusting,
        contextlib.closing(trusting.twin()) as twin,
    ):
        assert twin.register(uuid4(), registration).heartbeat_seconds > 0
    with (
        contextlib.closing(ServerClient(serving.url, token, 0.1)) as doubting,
        pytest.raises(Unreachable, match="CERTIFICATE"),
    ):
        doubting.register(uuid4(), registration)

    trusted = ssl.create_default_context(cafile=serving.ca_file)
    with httpx.Client(base_url=serving.url, verify=trusted, trust_env=False) as browser:
        cookie = browser.post("/v1/login", json={"code": code}).headers["Set-Cookie"]
        assert "Secure" in cookie
        assert "HttpOnly" in cookie
        assert browser.get("/v1/experiments").status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(serving.url.replace("https", "http") + "/healthz", trust_env=False)


def test_a_certificate_that_is_none_is_one_clear_line(tmp_path: Path, database_url: str) -> None:
    for name in ("certificate.pem", "key.pem"):
        (tmp_path / name).write_text("not a certificate\n")
    process = start(tmp_path / "home", database_url, tmp_path / "certificate.pem", tmp_path / "key.pem")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "STAGETUNE_TLS_CERTIFICATE" in err
    assert "Traceback" not in err


def test_an_authority_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing\n")
    for file in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(BadUsage, match="CA file"):
            Client("https://127.0.0.1:1", "token", ca_file=file)
        with pytest.raises(ValueError, match="CA file"):
            ServerClient("https://127.0.0.1:1", "token", 1.0, file)
