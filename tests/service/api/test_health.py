import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import psycopg2
import pytest


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Outage:
    """Takes a database away from everybody and gives it back."""

    def __init__(self, postgres: str, name: str) -> None:
        self._postgres, self._name = postgres.replace("+psycopg2", "", 1), name

    def begin(self) -> None:
        self._execute(f"ALTER DATABASE {self._name} WITH ALLOW_CONNECTIONS false")
        self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'")

    def end(self) -> None:
        self._execute(f"ALTER DATABASE {self._name} WITH ALLOW_CONNECTIONS true")

    def _execute(self, sql: str) -> None:
        with closing(psycopg2.connect(self._postgres)) as connection:
            connection.autocommit = True
            connection.cursor().execute(sql)


@pytest.fixture
def outage(postgres: str, module_database: str) -> Iterator[Outage]:
    made = Outage(postgres, module_database.partition("?")[0].rsplit("/", 1)[1])
    yield made
    made.end()


@pytest.fixture
def age(server: Any) -> Callable[[], None]:
    """Makes the answers that strangers share too old to be given again."""

    def make() -> None:
        for shared in (server.app.state.readiness, server.app.state.database_version):
            shared._ended_at = -1e9

    return make


def test_a_server_that_is_well_says_so_to_anybody(anonymous: httpx.Client) -> None:
    assert anonymous.get("/healthz").json() == {"status": "ok"}
    ready = anonymous.get("/readyz")
    deadline = time.monotonic() + 60
    while ready.status_code != 200 and time.monotonic() < deadline:
        # A server that has just started has its first look at leases and experiments before it.
        assert set(ready.json()["checks"].values()) == {"ok", "no sign of life yet"}
        time.sleep(0.05)
        ready = anonymous.get("/readyz")
    assert set(ready.json()["checks"].values()) == {"ok"}
    assert anonymous.get("/version").json()["database"].startswith("PostgreSQL ")


def test_without_a_database_clients_are_asked_to_come_back_and_then_served(
    admin: httpx.Client, anonymous: httpx.Client, page: httpx.Client, outage: Outage, age: Callable[[], None]
) -> None:
    outage.begin()
    age()
    for answer in (admin.get("/v1/experiments"), admin.post("/v1/tokens", json={"name": "a", "scope": "read"})):
        assert answer.status_code == 503
        assert answer.json()["type"] == "/problems/database-unavailable"
        assert answer.headers["Retry-After"] == "2"
    assert anonymous.get("/healthz").status_code == 200
    assert anonymous.get("/version").json()["database"] == "unavailable"
    ready = anonymous.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["database"] != "ok"
    # Where the database is, is no stranger's business.
    away = "The database does not answer; try again in a moment."
    stranger = anonymous.get("/v1/experiments", headers={"Authorization": "Bearer nobodys"})
    assert (stranger.status_code, stranger.json()["detail"]) == (503, away)
    assert ready.json()["checks"]["database"] == away
    assert page.get("/").status_code == 503
    assert page.get("/api/studies").status_code == 503
    outage.end()
    until(lambda: admin.get("/v1/experiments").status_code == 200)
    assert page.get("/api/studies").status_code == 200


def test_a_full_disk_is_seen(
    anonymous: httpx.Client, monkeypatch: pytest.MonkeyPatch, server: Any, age: Callable[[], None]
) -> None:
    monkeypatch.setattr(server.app.state.services.artifacts, "_spare", 2**80)
    age()
    ready = anonymous.get("/readyz")
    assert ready.status_code == 503
    assert "MiB" in ready.json()["checks"]["artifacts"]
    assert (server.settings.home / "artifacts").is_dir()
    age()


@pytest.mark.parametrize(
    ("path", "looked"), [("/readyz", "check_readiness"), ("/version", "database_version")], ids=["readyz", "version"]
)
def test_strangers_share_one_look(
    anonymous: httpx.Client,
    admin: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    server: Any,
    age: Callable[[], None],
    path: str,
    looked: str,
) -> None:
    looks, go_on = [], threading.Event()

    def slow(*arguments: Any) -> Any:
        looks.append(arguments)
        assert go_on.wait(60)
        return {"database": "ok"} if looked == "check_readiness" else "PostgreSQL"

    monkeypatch.setattr(f"service.api.health.{looked}", slow)
    age()
    crowd = 4 * server.settings.threads
    with ThreadPoolExecutor(crowd) as pool:
        answers = [pool.submit(httpx.get, f"{server.url}{path}", timeout=60, trust_env=False) for _ in range(crowd)]
        until(lambda: len(looks) == 1)
        # Nobody's thread is taken meanwhile.
        assert admin.get("/v1/experiments").status_code == 200
        go_on.set()
        assert {answer.result().status_code for answer in answers} == {200}
    assert len(looks) <= 2, "one look for all who came while it went on"
    for _ in range(20):
        assert anonymous.get(path).status_code == 200
    assert len(looks) < 10
    age()
