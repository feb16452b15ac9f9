"""After --json a failure is a line of problem JSON on stderr, with the exit status that people get."""

import json
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from client.exitcodes import ExitCode
from contract.problems import Fault
from tests.client.builders import EXPERIMENT, experiment
from tests.client.conftest import Cli
from tests.http_server import FakeServer, problem

COMMANDS = [
    ["submit", "-"], ["plan", "-"], ["watch", "latest"], ["report", "latest"], ["list"], ["pause", "latest"],
    ["resume", "latest"], ["cancel", "latest"], ["workers"], ["workers", "drain", "w"],
    ["retry", "latest"], ["failures", "latest"],
    ["presets"], ["token", "list"], ["token", "create", "me"],
]  # fmt: skip


def told(result: Result) -> dict[str, Any]:
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert found["exit_code"] == result.exit_code
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_server_is_told_to_programs(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--json", "--server", "http://127.0.0.1:1"], input="name: a")

    assert result.exit_code == ExitCode.UNREACHABLE
    found = told(result)
    assert found["type"] == "/problems/unreachable"
    assert "no stagetune server answers at http://127.0.0.1:1" in found["detail"]
    assert found["faults"] == []


def test_a_refusal_is_the_servers_own_problem(cli: Cli, server: FakeServer) -> None:
    fault = Fault(path="seeds", message="is empty")
    server.on("POST /v1/plans", problem(422, "invalid-submission", "seeds: is empty", fault))

    result = cli("plan", "-", "--json", input="seeds: []")

    assert result.exit_code == ExitCode.REFUSED
    assert told(result) == {
        "type": "/problems/invalid-submission", "title": "invalid-submission", "status": 422,
        "detail": "seeds: is empty", "faults": [{"path": "seeds", "message": "is empty"}], "exit_code": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "detail"),
    [
        (["list", "--json", "--state", "tired"], "'tired'"),
        (["list", "--josn", "--json"], "--josn"),
        (["watch", "--json"], "ID"),
        (["plan", "absent.yaml", "--json"], "there is no file absent.yaml"),
        (["data", "fetch", "imagenet", "--json"], "imagenet is no built-in data set"),
    ],
)
def test_wrong_usage_is_told_to_programs(cli: Cli, arguments: list[str], detail: str) -> None:
    result = cli(*arguments)

    assert result.exit_code == ExitCode.USAGE
    found = told(result)
    assert found["type"] == "/problems/usage"
    assert detail in found["detail"]


def test_what_nobody_expected_is_told_to_programs(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("client.commands.fleet.connect", broken)

    result = cli("workers", "--json")

    assert result.exit_code == ExitCode.FAILED
    assert told(result)["detail"].startswith("unexpected ZeroDivisionError: oops")


def test_ctrl_c_is_told_to_programs(command: Callable[..., subprocess.Popen[str]], server: FakeServer) -> None:
    server.on(f"GET /v1/experiments/{EXPERIMENT}", experiment())
    process = command("watch", str(EXPERIMENT), "--json")
    assert process.stdout is not None
    process.stdout.readline()

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)

    assert process.returncode == ExitCode.INTERRUPTED
    assert json.loads(errors) == {
        "type": "/problems/interrupted", "detail": "interrupted", "faults": [], "exit_code": 130,
    }  # fmt: skip
