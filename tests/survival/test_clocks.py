"""R16: clocks of workers and servers that are minutes wrong change nothing, for the database's alone counts."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from subprocess import Popen

import httpx
import pytest

from tests.e2e.conftest import Stack
from tests.invariants import violations
from tests.service.api.helpers import submission
from tests.survival.conftest import rows_of
from tests.survival.workers import Gate

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

LEASE_SECONDS = 3
# As many trials as workers that hold one: whoever comes later finds none but that of a lease that has ended.
ONE_SEARCH = submission(
    architectures={"A": ["Conv-3-4"]}, variants=[{"architecture": "A", "learning": "total"}], reuse=False,
    phases=[{"epochs": 1, "trials": 2}],
)  # fmt: skip


class WrongStack(Stack):
    """A stack whose programs have clocks that are wrong by so many minutes, the server's by ``minutes``."""

    def __init__(self, home: Path, database_url: str, minutes: int) -> None:
        self.minutes = minutes
        super().__init__(home, database_url, STAGETUNE_DASHBOARD="0", STAGETUNE_LEASE_SECONDS=f"{LEASE_SECONDS}")

    def hire(self, name: str, minutes: int) -> "Popen[bytes]":
        """Start a worker that does nothing until the gate opens."""
        token = (self.home / "worker-token").read_text().strip()
        log = self.home / f"{name}.log"
        return self._start(
            "tests.survival.workers", self.url, token, name, str(self.home), str(log), minutes=f"{minutes}"
        )

    def _start(self, package: str, *flags: str, **settings: str) -> "Popen[bytes]":
        seconds = 60 * int(settings.pop("minutes", self.minutes))
        return super()._start("tests.survival.shifted", f"{seconds}", package, *flags, **settings)


@pytest.fixture
def stack(tmp_path: Path, database_url: str) -> Iterator[WrongStack]:
    started = WrongStack(tmp_path, database_url, 5)
    yield started
    started.stop()


def holders(database_url: str) -> dict[str, int]:
    """Who holds a task, at which attempt."""
    query = "SELECT w.name, t.attempt FROM task t JOIN worker w ON w.id = t.worker_id WHERE t.state = 'leased'"
    return dict(rows_of(database_url, query))


def off(stack: WrongStack) -> timedelta:
    """How wrong the server's clock is."""
    answer = httpx.get(f"{stack.url}/version", trust_env=False)
    return parsedate_to_datetime(answer.headers["Date"]) - datetime.now(UTC)


def test_wrong_clocks_lose_no_lease_and_give_none_twice(stack: WrongStack, database_url: str) -> None:
    assert off(stack) > timedelta(minutes=4)
    stack.hire("early", 10)
    killed = stack.hire("late", -10)
    with stack.client() as client:
        stack.until(lambda: len(client.workers()) == 2, "the workers")
        experiment = client.submit(ONE_SEARCH)
        token = client.create_token("short", "read", expires="2m")
    assert timedelta(0) < token.expires_at - datetime.now(UTC) <= timedelta(minutes=2), "by a clock that is right"
    assert status(stack, token.token) == 200, "though the server believes that it has ended"

    stack.until(lambda: holders(database_url) == {"early": 1, "late": 1}, "both to hold a task")
    # For longer than a lease: a server that is ahead would believe that they have run out.
    stack.until(lambda: renewed(database_url, 3 * LEASE_SECONDS), "the leases to be renewed")
    assert holders(database_url) == {"early": 1, "late": 1}

    stack.server.kill()
    stack.server.wait()
    stack.minutes = -5
    stack.start_server()
    assert off(stack) < timedelta(minutes=-4)
    so_far = rows_of(database_url, "SELECT extract(epoch FROM now() - min(started_at)) FROM attempt")[0][0]
    stack.until(lambda: renewed(database_url, float(so_far) + 2 * LEASE_SECONDS), "the leases to be renewed again")
    assert holders(database_url) == {"early": 1, "late": 1}
    assert rows_of(database_url, "SELECT outcome FROM attempt WHERE outcome IS NOT NULL") == []
    rows_of(database_url, f"UPDATE token SET expires_at = now() WHERE id = '{token.id}'")
    assert status(stack, token.token) == 401, "though the server believes that it has minutes left"

    # And a lease that nobody renews ends, though the server believes that it has minutes left.
    killed.kill()
    stack.hire("other", 10)
    stack.until(lambda: holders(database_url) == {"early": 1, "other": 2}, "the other to have the task")
    Gate(stack.home).allow()
    assert stack.finish(experiment).state == "finished"
    assert violations(database_url, stack.home) == []
    assert rows_of(database_url, "SELECT count(*) FROM attempt WHERE outcome = 'lost'") == [(1,)]
    elsewhen = "SELECT count(*) FROM task WHERE abs(extract(epoch FROM finished_at - now())) > 240"
    assert rows_of(database_url, elsewhen) == [(0,)], "no moment of another clock was written down"


def renewed(database_url: str, seconds: float) -> bool:
    """Whether both leases run beyond so many seconds after they were given, and no longer than a lease may run."""
    query = f"""
        SELECT count(*), bool_and(lease_expires_at > a.started_at + interval '{seconds} s'),
               max(lease_expires_at) <= now() + interval '{LEASE_SECONDS} s'
        FROM task t JOIN attempt a ON a.task_id = t.id AND a.n = t.attempt WHERE t.state = 'leased'
    """
    return rows_of(database_url, query) == [(2, True, True)]


def status(stack: WrongStack, token: str) -> int:
    """What is answered to somebody with a token."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{stack.url}/v1/experiments", headers=headers, trust_env=False, timeout=30).status_code
