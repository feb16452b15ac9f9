"""A server to call, and ways to call the command."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import stamina
from typer.testing import CliRunner, Result

from client.cli import app
from tests.http_server import TOKEN, FakeServer

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No server, token or home of the machine the tests run on; retries do not wait."""
    for name in [name for name in os.environ if name.startswith("STAGETUNE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STAGETUNE_HOME", str(tmp_path / "home"))
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@pytest.fixture
def environment(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables under which the command finds the fake server; set in this process as well."""
    monkeypatch.setenv("STAGETUNE_SERVER", server.url)
    monkeypatch.setenv("STAGETUNE_TOKEN", TOKEN)
    return dict(os.environ)


Cli = Callable[..., Result]


@pytest.fixture
def cli(environment: dict[str, str]) -> Cli:
    def call(*arguments: str, input: str | None = None) -> Result:  # noqa: A002
        return CliRunner(env=environment).invoke(app, list(arguments), input=input)

    return call


@pytest.fixture
def command(environment: dict[str, str]) -> Callable[..., subprocess.Popen[str]]:
    """The command as a process of its own."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "client", *arguments],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
