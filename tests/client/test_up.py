"""`stagetune up` with a server and workers of a few lines: real processes, real signals."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from client.exitcodes import ExitCode
from tests.client.conftest import REPOSITORY

pytestmark = pytest.mark.chaos

SERVICE = """
    import json, os, signal, sys
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from pathlib import Path

    home = Path(os.environ["STAGETUNE_HOME"])
    (home / "admin-token").write_text("admin")
    (home / "worker-token").write_text("worker")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def do_POST(self):
            self.send_response(201)
            self.end_headers()
            self.wfile.write(b'{"code": "c", "path": "/login#code=c", "expires_at": "2026-11-24T12:00:00Z"}')

    def stop(*_):
        print("server closed", flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    server = HTTPServer((os.environ["STAGETUNE_HOST"], int(os.environ["STAGETUNE_PORT"])), Handler)
    print("server", os.getpid(), flush=True)
    server.serve_forever()
"""
WORKER = """
    import os, signal, sys, time

    def stop(*_):
        print("worker drained", flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    secrets = sorted(name for name in os.environ if name.startswith("STAGETUNE_"))
    print("worker", os.getpid(), *sys.argv[1:], secrets, flush=True)
    time.sleep(600)
"""
STUBBORN_WORKER = WORKER.replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
BROKEN_SERVICE = "print('the database is of another version', flush=True)\nraise SystemExit(1)"

Up = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def up(tmp_path: Path, home: Path) -> Iterator[Up]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, service: str = SERVICE, worker: str = WORKER) -> subprocess.Popen[str]:
        for name, code in (("service", service), ("worker", worker)):
            package = tmp_path / "fakes" / name
            package.mkdir(parents=True, exist_ok=True)
            # What a fake leaves out, such as the server's settings, is the real one's.
            (package / "__init__.py").write_text(f"__path__.append({str(REPOSITORY / name)!r})")
            (package / "__main__.py").write_text(textwrap.dedent(code))
        environment = os.environ | {
            "STAGETUNE_HOME": str(home),
            "PYTHONPATH": f"{tmp_path / 'fakes'}:{REPOSITORY}",
            "STAGETUNE_TOKEN": "not-for-children",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "client", "up", "--port", "0", "--device", "cpu", *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def log(home: Path, name: str) -> list[str]:
    path = home / "logs" / f"{name}.log"
    return path.read_text().splitlines() if path.exists() else []


def pids(home: Path, name: str) -> list[int]:
    return [
        int(line.split()[1])
        for line in log(home, name)
        if line.startswith(("server ", "worker ")) and line.split()[1].isdigit()
    ]


def until(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_everything_is_started_kept_alive_and_drained(up: Up, home: Path) -> None:
    process = up()
    assert process.stdout is not None
    greeting = "".join(process.stdout.readline() for _ in range(4))
    until(lambda: pids(home, "worker-cpu"))

    for name in ("server", "worker-cpu"):
        os.kill(pids(home, name)[-1], signal.SIGKILL)
        until(lambda name=name: len(pids(home, name)) == 2)  # type: ignore[misc]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == ExitCode.OK
    assert "/login#code=c" in greeting
    assert "STAGETUNE_ALLOW_REMOTE=1 stagetune up --host 0.0.0.0" in greeting
    assert "server: ended with signal SIGKILL; starting it again" in errors
    assert log(home, "worker-cpu")[-1] == "worker drained"
    assert log(home, "server")[-1] == "server closed"
    assert not any(running(pid) for name in ("server", "worker-cpu") for pid in pids(home, name))


def test_a_worker_gets_its_token_by_file_and_no_secret_of_ours(up: Up, home: Path) -> None:
    process = up()
    until(lambda: pids(home, "worker-cpu"))
    process.terminate()
    process.communicate(timeout=30)

    line = log(home, "worker-cpu")[0]
    assert f"--token-file {home / 'worker-token'}" in line
    assert line.endswith("['STAGETUNE_HOME']")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_told_to_go_leaves_nothing_behind(up: Up, home: Path, number: signal.Signals) -> None:
    process = up()
    until(lambda: pids(home, "worker-cpu"))

    process.send_signal(number)
    process.communicate(timeout=30)

    assert process.returncode == ExitCode.OK
    assert not any(running(pid) for name in ("server", "worker-cpu") for pid in pids(home, name))


def test_the_second_ctrl_c_does_not_wait(up: Up, home: Path) -> None:
    process = up(worker=STUBBORN_WORKER)
    until(lambda: pids(home, "worker-cpu"))

    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    until(lambda: "Ctrl-C again stops now" in process.stderr.readline())  # type: ignore[union-attr]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert process.returncode == ExitCode.OK
    assert not running(pids(home, "worker-cpu")[0])


def test_a_server_that_cannot_start_says_why(up: Up) -> None:
    process = up(service=BROKEN_SERVICE)

    _, errors = process.communicate(timeout=30)

    assert process.returncode == ExitCode.FAILED
    assert "the server does not stay up" in errors
    assert "the database is of another version" in errors


def test_a_taken_port_is_told_before_anything_starts(up: Up, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = up("--port", str(taken.getsockname()[1]))
        _, errors = process.communicate(timeout=30)

    assert process.returncode == ExitCode.USAGE
    assert "--port 0 takes a free one" in errors
    assert not (home / "logs").exists()


def test_other_machines_are_let_in_only_by_those_who_say_so(up: Up, home: Path) -> None:
    process = up("--host", "0.0.0.0")  # noqa: S104

    _, errors = process.communicate(timeout=30)

    assert process.returncode == ExitCode.USAGE
    assert errors.startswith("error: STAGETUNE_HOST is 0.0.0.0, which other machines can reach.")
    assert errors.endswith("STAGETUNE_ALLOW_REMOTE=1 if a TLS proxy stands in front or you trust the network\n")
    assert len(errors.splitlines()) == 1
    assert not home.exists()


def test_those_who_say_so_are_told_how_other_machines_join(up: Up, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGETUNE_ALLOW_REMOTE", "1")

    process = up("--host", "0.0.0.0")  # noqa: S104
    until(lambda: pids(home, "worker-cpu"))
    process.terminate()
    greeting, _ = process.communicate(timeout=30)

    assert "more workers stagetune worker --server http://THIS-MACHINE:" in greeting


def test_a_setting_the_server_cannot_use_is_told_before_anything_starts(
    up: Up, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGETUNE_LEASE_SECONDS", "long")

    _, errors = (process := up()).communicate(timeout=30)

    assert process.returncode == ExitCode.USAGE
    assert errors.startswith("error: STAGETUNE_LEASE_SECONDS: ")
    assert not home.exists()


def test_one_home_is_served_once(up: Up, home: Path) -> None:
    first = up()
    until(lambda: pids(home, "server"))

    second = up()
    _, errors = second.communicate(timeout=30)

    assert second.returncode == ExitCode.USAGE
    assert "another `stagetune up` runs on" in errors
    first.terminate()
    first.communicate(timeout=30)
