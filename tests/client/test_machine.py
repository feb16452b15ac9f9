"""doctor, data and the commands that become another process."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from client.cli import app
from client.exitcodes import ExitCode
from contract.access import Readiness
from tests.client.builders import worker
from tests.client.conftest import Cli
from tests.http_server import TOKEN, Answer, FakeServer, problem


class Became(BaseException):
    """Stands in for execve, after which nothing of this process is left."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        super().__init__(command)
        self.command = command
        self.environment = environment


@pytest.fixture
def becoming(monkeypatch: pytest.MonkeyPatch) -> None:
    def execve(_: str, command: list[str], environment: dict[str, str]) -> None:
        raise Became(command, environment)

    monkeypatch.setattr(os, "execve", execve)


def became(*arguments: str) -> Became:
    with pytest.raises(Became) as caught:
        app([*arguments], standalone_mode=False)
    return caught.value


def test_doctor_finds_what_is_here(cli: Cli, server: FakeServer) -> None:
    server.on("GET /readyz", Readiness(ready=True, checks={"database": "ok"}))
    server.on("GET /v1/workers", [worker()])

    result = cli("doctor", "--json")

    findings = {item["subject"]: item for item in json.loads(result.stdout)["findings"]}
    assert result.exit_code == 0
    assert findings["torch"]["level"] == "ok"
    assert "digits" in findings["data sets"]["detail"]
    assert (findings["token"]["detail"], findings["workers"]["detail"]) == ("accepted", "1 worker online")


def test_doctor_tells_a_server_that_is_not_ready(cli: Cli, server: FakeServer) -> None:
    server.on("GET /readyz", Answer(Readiness(ready=False, checks={"database": "down", "disk": "ok"}), 503))

    result = cli("doctor", "--json")

    findings = {item["subject"]: item for item in json.loads(result.stdout)["findings"]}
    assert findings["server"]["level"] == "warning"
    assert findings["server"]["detail"].endswith("database: down; its log says why")


def doctored(subject: str) -> tuple[str, str]:
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)["findings"]
    (finding,) = (item for item in found if item["subject"] == subject)
    return finding["level"], finding["detail"]


@pytest.mark.usefixtures("environment")
def test_doctor_says_what_to_do_about_workers_and_tokens(server: FakeServer) -> None:
    server.on("GET /readyz", Readiness(ready=True, checks={}))
    server.on(
        "GET /v1/workers",
        [worker(state="offline")],
        problem(401, "unauthenticated", "this token is unknown"),
        problem(403, "forbidden", "this needs a token of scope read"),
    )

    assert doctored("workers") == ("warning", "none online; `stagetune worker` starts one")
    assert doctored("token") == (
        "warning", "this token is unknown; give one by --token-file or STAGETUNE_TOKEN",
    )  # fmt: skip
    assert doctored("token") == ("ok", "accepted for other things: this needs a token of scope read")


@pytest.mark.usefixtures("environment")
def test_doctor_finds_what_the_server_would_refuse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STAGETUNE_DATABASE_URL", "mysql://x")
    assert doctored("settings")[0] == "missing"
    (tmp_path / "file").touch()
    monkeypatch.setenv("STAGETUNE_HOME", str(tmp_path / "file"))
    assert doctored("home")[1].endswith("cannot be written; set STAGETUNE_HOME to a folder that can")


def test_doctor_fails_when_something_essential_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.commands.doctor.find_devices", list)

    result = CliRunner().invoke(app, ["doctor", "--server", "http://127.0.0.1:1"])

    assert result.exit_code == ExitCode.FAILED
    assert "missing" in result.stdout


def test_a_data_set_is_added_and_listed(tmp_path: Path) -> None:
    path = tmp_path / "tiny.npz"
    images = np.arange(8 * 4 * 4, dtype=np.uint8).reshape(8, 4, 4)
    labels = np.arange(8) % 2
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)

    added = CliRunner().invoke(app, ["data", "add", "tiny", str(path)])
    listed = CliRunner().invoke(app, ["data", "list", "--json"])

    assert added.exit_code == 0, added.stderr
    assert "tiny: 8 training and 8 test images of 1x4x4, 2 classes" in added.stdout
    assert added.stderr == "workers of this machine offer it before their next task, those that run already too\n"
    assert "tiny" in {item["name"] for item in json.loads(listed.stdout)}


def test_a_data_set_that_cannot_be_is_one_line() -> None:
    result = CliRunner().invoke(app, ["data", "fetch", "imagenet"])

    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.startswith("error: imagenet is no built-in data set")


@pytest.mark.usefixtures("becoming")
def test_a_worker_takes_its_token_by_environment() -> None:
    it = became("worker", "--server", "http://gpu-box:8000", "--token", TOKEN, "--device", "cpu", "--once")

    assert it.command[-6:] == ["worker", "--server", "http://gpu-box:8000", "--device", "cpu", "--exit-when-idle"]
    assert TOKEN not in " ".join(it.command)
    assert it.environment["STAGETUNE_TOKEN"] == TOKEN


@pytest.mark.usefixtures("becoming")
def test_a_worker_beside_the_server_finds_its_own_token() -> None:
    home = Path(os.environ["STAGETUNE_HOME"])
    home.mkdir()
    (home / "admin-token").write_text("admin")
    (home / "worker-token").write_text("worker")

    assert became("worker").environment["STAGETUNE_TOKEN"] == "worker"
    assert became("worker", "--token", "mine").environment["STAGETUNE_TOKEN"] == "mine"


def test_a_worker_without_a_token_is_told_how_to_give_one() -> None:
    result = CliRunner().invoke(app, ["worker", "--server", "http://gpu-box:8000"])

    assert result.exit_code == ExitCode.NOT_AUTHORISED
    assert "STAGETUNE_TOKEN_FILE" in result.stderr


@pytest.mark.usefixtures("becoming")
def test_serve_becomes_the_server(tmp_path: Path) -> None:
    it = became("serve", "--port", "8123", "--home", str(tmp_path))

    assert it.command[-2:] == ["-m", "service"]
    assert (it.environment["STAGETUNE_PORT"], it.environment["STAGETUNE_HOME"]) == ("8123", str(tmp_path))
