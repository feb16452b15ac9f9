"""``python -m service`` as a process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.__main__ import listen

pytestmark = pytest.mark.e2e

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def start(home: Path, database_url: str) -> Iterator[Start]:
    """Starts servers; none survives the test."""
    started: list[subprocess.Popen[str]] = []

    def run(**environment: str) -> "subprocess.Popen[str]":
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STAGETUNE_")}
        settings = {"STAGETUNE_HOME": str(home), "STAGETUNE_DATABASE_URL": database_url, "STAGETUNE_PORT": "0"}
        process = subprocess.Popen(
            [sys.executable, "-m", "service"],
            env=kept | settings | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def announced(process: "subprocess.Popen[str]") -> str:
    """The address in the line that the server prints when it is ready."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line.startswith("stagetune serves http://127.0.0.1:"), process.communicate()
    return line.removeprefix("stagetune serves ")


def await_ready(client: httpx.Client) -> None:
    """Return when the server takes work: it answers before its reaper gave the first sign of life."""
    deadline = time.monotonic() + 60
    while not client.get("/readyz").json()["ready"]:
        assert time.monotonic() < deadline, client.get("/readyz").text
        time.sleep(0.05)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_was_asked_for_ends_streams_and_is_a_success(
    home: Path, start: Start, sent: signal.Signals
) -> None:
    process = start()
    url = announced(process)
    assert json.loads((home / "connection.json").read_text())["url"] == url
    token = (home / "admin-token").read_text().strip()
    client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=30)
    with client:
        await_ready(client)
        text = "name: a\ndataset: {name: digits}\narchitectures: {CNN 1: [Conv-3-4]}\n"
        made = client.post("/v1/experiments", content=text, headers={"Content-Type": "application/yaml"}).json()
        with client.stream("GET", f"/v1/experiments/{made['id']}/events") as stream:
            asked = time.monotonic()
            process.send_signal(sent)
            stream.read()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert time.monotonic() - asked < 20
    assert out == ""
    assert "Traceback" not in err
    assert token not in err
    assert not (home / "connection.json").exists()


def test_a_second_start_keeps_the_tokens(home: Path, start: Start) -> None:
    tokens = []
    for _ in range(2):
        process = start()
        announced(process)
        tokens.append((home / "admin-token").read_text())
        process.terminate()
        process.communicate(timeout=30)
    assert tokens[0] == tokens[1]


def test_a_token_that_an_operator_brought_is_taken_over(home: Path, start: Start, tmp_path: Path) -> None:
    secret = tmp_path / "worker-secret"
    secret.write_text("a-secret-made-by-an-operator\n")
    url = announced(start(STAGETUNE_WORKER_TOKEN_FILE=str(secret)))
    headers = {"Authorization": "Bearer a-secret-made-by-an-operator"}
    worker = "00000000-0000-4000-8000-000000000000"
    answer = httpx.put(
        f"{url}/v1/worker/workers/{worker}", headers=headers, json={"name": "w", "device": "cpu"}, trust_env=False
    )
    assert answer.status_code == 200
    assert not (home / "worker-token").exists()


def refused(process: "subprocess.Popen[str]", status: int = 1) -> str:
    """The one line of a server that did not start."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("stagetune: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


def test_connections_send_every_part_of_an_answer_at_once() -> None:
    """Head and body are two writes; the second must not wait for the client's acknowledgement of the first."""
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_taken_port_is_one_clear_line(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = refused(start(STAGETUNE_PORT=str(taken.getsockname()[1])))
    assert "Address already in use" in line
    assert "STAGETUNE_PORT=0" in line


def test_a_setting_that_makes_no_sense_is_one_clear_line(start: Start) -> None:
    assert "STAGETUNE_PORT" in refused(start(STAGETUNE_PORT="http"), 2)


def test_an_open_address_needs_to_be_meant(start: Start) -> None:
    assert "STAGETUNE_ALLOW_REMOTE=1" in refused(start(STAGETUNE_HOST="0.0.0.0"), 2)  # noqa: S104


def test_a_database_that_is_not_there_is_one_clear_line(start: Start) -> None:
    assert "refused" in refused(start(STAGETUNE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none"))


def test_a_password_file_without_a_user_in_the_url_is_one_clear_line(start: Start, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    line = refused(
        start(
            STAGETUNE_DATABASE_URL="postgresql://127.0.0.1:1/none",
            STAGETUNE_DATABASE_PASSWORD_FILE=str(tmp_path / "password"),
        )
    )
    assert "STAGETUNE_DATABASE_PASSWORD_FILE" in line
    assert "secret" not in line
