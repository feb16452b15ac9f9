"""The worker as its user starts it: flags, exit codes, and what it says on the terminal."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from contract.tasks import TaskResult, WorkerRegistration
from tests.http_server import TOKEN, problem
from tests.worker.conftest import WORK, ProtocolServer, make_lease
from worker.__main__ import main
from worker.data import open_dataset

REPOSITORY = Path(__file__).resolve().parents[2]

Start = Callable[..., int]


@pytest.fixture
def start(
    server: ProtocolServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    impatient: None,  # noqa: ARG001
    signals_restored: object,  # noqa: ARG001
) -> Start:
    """Runs a worker in this process; its exit code."""
    for name in [name for name in os.environ if name.startswith("STAGETUNE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STAGETUNE_TOKEN", TOKEN)
    monkeypatch.setenv("STAGETUNE_SERVER", server.url)
    monkeypatch.setenv("STAGETUNE_HOME", str(tmp_path / "home"))

    def run(*flags: str) -> int:
        return main(["--device", "cpu", *flags])

    return run


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The errors said so far."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


def test_a_worker_says_what_it_is_and_leaves_when_idle(server: ProtocolServer, start: Start) -> None:
    assert start("--exit-when-idle", "--name", "gpu 7") == 0

    assert server.happened == ["register", "lease", "depart"]
    registration = WorkerRegistration.model_validate_json(server.to("register")[0].body)
    assert (registration.name, registration.device) == ("gpu 7", "cpu")
    assert {"host", "device", "python", "torch", "threads"} <= registration.info.keys()
    (digits,) = [held for held in registration.datasets if held.name == "digits"]
    assert (digits.shape, digits.classes, digits.train, digits.test) == ((1, 8, 8), 10, 1437, 360)


def test_threads_come_from_the_environment_as_well(
    server: ProtocolServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("STAGETUNE_WORKER_THREADS", "1")
    try:
        assert start("--exit-when-idle") == 0
    finally:
        torch.set_num_threads(before)

    (registered,) = server.to("register")
    assert WorkerRegistration.model_validate_json(registered.body).info["threads"] == "1"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--device", "toaster"], "toaster"),
        (["--device", "cuda:99"], ""),
        (["--server", "127.0.0.1:8000"], "'127.0.0.1:8000' is no URL"),
        (["--server", "http://[::1"], "is no URL"),
        (["--home", "/proc/nowhere"], "/proc/nowhere"),
        (["--token-file", "/nowhere/token"], "/nowhere/token"),
    ],
)
def test_flags_that_cannot_be_meant_are_one_line(
    server: ProtocolServer, start: Start, errors: Callable[[], list[str]], flags: list[str], said: str
) -> None:
    assert start(*flags) == 2

    (line,) = errors()
    assert said in line
    assert "\n" not in line
    assert server.calls == []


@pytest.mark.parametrize("flags", [["--patience", "long"], ["--colour", "red"]])
def test_unknown_flags(start: Start, flags: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        start(*flags)

    assert ended.value.code == 2


def test_without_a_token_it_says_where_to_put_one(
    start: Start, errors: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STAGETUNE_TOKEN")

    assert start() == 2

    assert errors() == ["a worker needs a token: --token-file, STAGETUNE_TOKEN_FILE or STAGETUNE_TOKEN"]


def test_a_token_file_goes_before_the_environment(
    server: ProtocolServer, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    monkeypatch.setenv("STAGETUNE_TOKEN", "another")

    assert start("--exit-when-idle", "--token-file", str(file)) == 0

    assert {call.headers["authorization"] for call in server.calls} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("content", ["", f"# the token\n{TOKEN}\n"])
def test_a_file_that_holds_no_token_is_not_quoted(
    start: Start, errors: Callable[[], list[str]], tmp_path: Path, content: str
) -> None:
    file = tmp_path / "token"
    file.write_text(content)

    assert start("--token-file", str(file)) == 2

    assert errors() == ["the token is not one word of printable ASCII characters"]


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(401, "unauthenticated", 6), (403, "forbidden", 6), (422, "invalid-request", 1)],
)
def test_refusals(
    server: ProtocolServer,
    start: Start,
    errors: Callable[[], list[str]],
    status: int,
    code: str,
    exit_code: int,
) -> None:
    server.always("register", problem(status, code, "not like this"))

    assert start() == exit_code

    assert errors() == [f"not like this [{code}, HTTP {status}]"]


def test_a_server_that_is_not_there(start: Start, errors: Callable[[], list[str]]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"

        assert start("--server", url, "--patience", "0.5") == 75

    (line,) = errors()
    assert line.startswith(f"no contact with {url}: ConnectError")


def test_a_process_from_a_lease_to_a_signal(server: ProtocolServer, tmp_path: Path) -> None:
    digest = open_dataset("digits", tmp_path, None).info.digest
    dataset = WORK["dataset"] | {"digest": digest}
    server.leases = [make_lease(dataset=dataset), make_lease(dataset=dataset, epochs=10_000)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STAGETUNE_")}
    # The worker is the one who keeps torch's profiler quiet, not the process that starts it.
    environment.pop("KINETO_LOG_LEVEL", None)
    worker = subprocess.Popen(
        [sys.executable, "-m", "worker", "--device", "cpu", "--server", server.url, "--home", str(tmp_path)],
        cwd=REPOSITORY,
        env=environment | {"STAGETUNE_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def stop_the_second_training() -> None:
        if len(server.to("lease")) == 2:
            server.hooks.clear()
            worker.send_signal(signal.SIGTERM)

    server.hooks["beat"] = stop_the_second_training
    try:
        said = worker.communicate(timeout=90)[0]
    finally:
        worker.kill()

    assert worker.returncode == 0
    handed_back = ["upload", "snapshot", "release", "depart"]
    assert server.happened == ["register", "lease", "upload", "result", "lease", *handed_back]
    result = TaskResult.model_validate_json(server.to("result")[0].body).result
    assert result.outcome == "complete"
    assert result.checkpoint in server.artifacts
    assert TOKEN not in said
    lines = said.splitlines()
    assert all(" INFO " in line for line in lines), "nothing but its own log"
    assert next(line.split(" INFO ")[1] for line in lines if "CNN 1" in line) == "CNN 1, stage 1, trial (attempt 3)"
    assert "complete, validation accuracy" in said
