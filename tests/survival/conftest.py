"""Servers that do not outlive their test, and every invariant after each."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

from service.storage import Storage
from service.tuning.projection import StudyProjection
from service.usecases.project_studies import project_studies
from tests.invariants import all_shown, rows, violations
from tests.survival.servers import Server, until

Serve = Callable[..., Server]
Rows = Callable[[str], list[Any]]


@pytest.fixture
def serve(
    tmp_path_factory: pytest.TempPathFactory,
    database_url: str,  # noqa: ARG001 - is to be there when the servers are gone
) -> Iterator[Serve]:
    """Makes servers on one home; none is started. Afterwards they are gone, and every invariant holds.

    A test that gives them another database than this one, or a disk, asks for it first: it is looked at in the end.
    """
    home = tmp_path_factory.mktemp("home")
    made: list[Server] = []

    def make(url: str, **settings: Any) -> Server:
        server = Server(home, url, **settings)
        made.append(server)
        return server

    yield make
    for server in made:
        server.end()
    for url, artifacts in {(server.database_url, server.artifacts) for server in made}:
        come_to_rest(url)
        assert violations(url, home, artifacts) == []


def come_to_rest(url: str) -> None:
    """Nobody works on the database any more, and what servers that are gone had yet to draw is drawn."""
    others = """
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    """
    until(lambda: rows(url, others) == [], "all connections to end")
    store, projection = Storage.connect(url, pool_size=2), StudyProjection(url)

    def drawn() -> bool:
        project_studies(store, projection.sync)
        return all_shown(url)

    try:
        until(drawn, "the studies to be drawn")
    finally:
        projection.close()
        store.close()


def rows_of(url: str, sql: str) -> list[Any]:
    """What a query finds in our tables."""
    with contextlib.closing(psycopg2.connect(url.replace("+psycopg2", "", 1))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET search_path = stagetune")
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description is not None else []
