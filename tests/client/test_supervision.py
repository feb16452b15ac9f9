"""Children are kept alive and never left behind; real processes, really killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from client import supervision
from client.supervision import ChildSpec, Supervisor, describe_status, last_lines

pytestmark = pytest.mark.chaos

FOREVER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
WITH_GRANDCHILD = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(child.pid, flush=True); time.sleep(600)"
)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(said: list[str]) -> Iterator[Supervisor]:
    made = Supervisor(said.append)
    yield made
    made.stop(list(made.children), 0)


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., ChildSpec]:
    def make(code: str, name: str = "child") -> ChildSpec:
        return ChildSpec(name, [sys.executable, "-c", code], dict(os.environ), tmp_path / "logs" / f"{name}.log")

    return make


def until(reached: Callable[[], object], supervisor: Supervisor | None = None) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        if supervisor is not None:
            supervisor.tick()
        time.sleep(0.01)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_child_that_is_killed_is_started_again(
    supervisor: Supervisor, spec: Callable[..., ChildSpec], said: list[str]
) -> None:
    child = supervisor.start(spec(FOREVER))
    first = child.process.pid

    os.kill(first, signal.SIGKILL)
    until(lambda: child.process.pid != first and child.alive, supervisor)

    assert said[0].startswith("child: ended with signal SIGKILL; starting it again in 0.25 s")


def test_a_child_that_flaps_is_given_up(
    supervisor: Supervisor, spec: Callable[..., ChildSpec], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE_SECONDS", 0.001)
    child = supervisor.start(spec("print('no database'); raise SystemExit(3)"))

    until(lambda: child.given_up, supervisor)

    assert child.last_status == 3
    assert "5 times in 30 s; given up" in said[-1]
    assert last_lines(child.spec.log).splitlines() == ["no database"] * 5


def test_children_are_asked_to_end_and_given_time(supervisor: Supervisor, spec: Callable[..., ChildSpec]) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (print('handed back'), sys.exit(0)));"
        "print('up', flush=True); time.sleep(600)"
    )
    child = supervisor.start(spec(code))
    until(lambda: last_lines(child.spec.log) == "up")

    supervisor.stop(["child"], 20)

    assert child.process.returncode == 0
    assert last_lines(child.spec.log).splitlines() == ["up", "handed back"]
    assert supervisor.children == {}


def test_a_child_that_does_not_listen_is_killed_after_its_grace(
    supervisor: Supervisor, spec: Callable[..., ChildSpec], said: list[str]
) -> None:
    child = supervisor.start(spec(STUBBORN))
    until(lambda: last_lines(child.spec.log) == "up")

    supervisor.stop(["child"], 0.1)

    assert child.process.returncode == -signal.SIGKILL
    assert said == ["child: killed; it did not end in time"]


def test_a_second_request_does_not_wait_for_the_grace(
    supervisor: Supervisor, spec: Callable[..., ChildSpec], said: list[str]
) -> None:
    child = supervisor.start(spec(STUBBORN))
    until(lambda: last_lines(child.spec.log) == "up")

    supervisor.stop(["child"], 600, hurry=lambda: True)

    assert child.process.returncode == -signal.SIGKILL
    assert said == ["child: stopped at once"]


def test_grandchildren_end_with_their_parent(supervisor: Supervisor, spec: Callable[..., ChildSpec]) -> None:
    child = supervisor.start(spec(WITH_GRANDCHILD))
    until(lambda: last_lines(child.spec.log))
    grandchild = int(last_lines(child.spec.log))

    supervisor.stop(["child"], 5)

    until(lambda: gone(grandchild))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_children_of_a_killed_supervisor_end(tmp_path: Path) -> None:
    code = f"""
        import os, sys, time
        from pathlib import Path
        from client.supervision import ChildSpec, Supervisor
        child = Supervisor(print).start(
            ChildSpec("c", [sys.executable, "-c", {FOREVER!r}], dict(os.environ), Path({str(tmp_path)!r}) / "c.log")
        )
        print(child.process.pid, flush=True)
        time.sleep(600)
    """
    owner = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout:
        pid = int(owner.stdout.readline())

    owner.kill()
    owner.wait()

    until(lambda: gone(pid))


def test_statuses_have_names() -> None:
    assert describe_status(3) == "status 3"
    assert describe_status(-9) == "signal SIGKILL"
    assert describe_status(-99) == "signal 99"
