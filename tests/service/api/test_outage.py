"""The database drops every connection, and the server stays."""

import contextlib
import time

import httpx
import psycopg2

from tests.service.api.helpers import submission


def test_a_stream_outlives_an_outage_and_the_server_recovers(
    admin: httpx.Client, registered: str, postgres: str, module_database: str
) -> None:
    assert registered
    made = admin.post("/v1/experiments", json=submission(reuse=False)).json()
    name = module_database.partition("?")[0].rpartition("/")[2]
    with admin.stream("GET", f"/v1/experiments/{made['id']}/events") as answer:
        lines = answer.iter_lines()
        assert "event: submitted" in lines
        _execute(postgres, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        deadline = time.monotonic() + 30
        while admin.post(f"/v1/experiments/{made['id']}/cancel").status_code != 200:
            assert time.monotonic() < deadline
        assert "event: end" in lines
    while not admin.get("/readyz").json()["ready"]:
        assert time.monotonic() < deadline


def _execute(url: str, sql: str) -> None:
    with contextlib.closing(psycopg2.connect(url.replace("+psycopg2", "", 1))) as connection:
        connection.autocommit = True
        connection.cursor().execute(sql)
