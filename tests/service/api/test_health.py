import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import psycopg2
import pytest


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


def test_a_server_that_is_well_says_so_to_anybody(anonymous: httpx.Client) -> None:
    assert anonymous.get("/healthz").json() == {"status": "ok"}
    ready = anonymous.get("/readyz")
    deadline = time.monotonic() + 60
    while ready.status_code != 200 and time.monotonic() < deadline:
        # A server that has just started has its first look at leases before it.
        assert ready.json()["checks"]["reaper"] == "no sign of life yet"
        time.sleep(0.05)
        ready = anonymous.get("/readyz")
    assert set(ready.json()["checks"].values()) == {"ok"}
    assert anonymous.get("/version").json()["database"].startswith("PostgreSQL ")


def test_without_a_database_clients_are_asked_to_come_back_and_then_served(
    admin: httpx.Client, anonymous: httpx.Client, page: httpx.Client, outage: Outage
) -> None:
    outage.begin()
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
    deadline = time.monotonic() + 30
    while admin.get("/v1/experiments").status_code != 200:
        assert time.monotonic() < deadline
    assert page.get("/api/studies").status_code == 200


def test_a_full_disk_is_seen(anonymous: httpx.Client, monkeypatch: pytest.MonkeyPatch, server: Any) -> None:
    monkeypatch.setattr(server.app.state.services.artifacts, "_spare", 2**80)
    ready = anonymous.get("/readyz")
    assert ready.status_code == 503
    assert "MiB" in ready.json()["checks"]["artifacts"]
    assert (server.settings.home / "artifacts").is_dir()
