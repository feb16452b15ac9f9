"""The demo with the real server and worker, on a submission of seconds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from client.exitcodes import ExitCode
from tests.client.conftest import REPOSITORY

pytestmark = pytest.mark.e2e

TINY = """
name: tiny
dataset: {name: digits, train: 200, validation: 100}
architectures:
  A: [Conv-3-4 Pool-2, Conv-3-4]
phases: [{epochs: 1, trials: 2}]
"""


@pytest.fixture
def demo(tmp_path: Path) -> Callable[[], subprocess.Popen[str]]:
    """Starts it with a temporary folder of its own, short enough for a Unix socket or left for /tmp."""
    submission = tmp_path / "tiny.yaml"
    submission.write_text(TINY)

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "client", "demo", "--preset", str(submission)],
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TEST_DEMO": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def started_by(tmp_path: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TEST_DEMO") == str(tmp_path) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.name())
        except psutil.Error:
            continue
    return found


def home_of(line: str) -> Path:
    return Path(line.split()[-1])


@pytest.mark.timeout(300)
def test_the_demo_prints_the_table_and_leaves_nothing(
    demo: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = demo()
    output, errors = process.communicate(timeout=240)

    assert process.returncode == ExitCode.OK, errors
    assert "tiny: 2 variants, 3 stage searches" in output
    assert "A partial" in output
    assert "A total − A partial" in output
    assert "where to look next" in errors
    assert started_by(tmp_path) == []
    assert not home_of(errors.splitlines()[0]).exists()


@pytest.mark.timeout(300)
def test_an_interrupted_demo_leaves_nothing(demo: Callable[[], subprocess.Popen[str]], tmp_path: Path) -> None:
    process = demo()
    assert process.stderr is not None
    home = home_of(process.stderr.readline())
    log = home / "logs" / "server.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and "serves" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)

    assert process.returncode == ExitCode.INTERRUPTED
    assert started_by(tmp_path) == []
    assert not home.exists()
