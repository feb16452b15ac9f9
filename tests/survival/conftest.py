"""Servers that do not outlive their test."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

from tests.service.api.conftest import module_database as module_database
from tests.survival.servers import Server

Serve = Callable[..., Server]
Rows = Callable[[str], list[Any]]


@pytest.fixture
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Makes servers on one home; none is started."""
    home = tmp_path_factory.mktemp("home")
    made: list[Server] = []

    def make(database_url: str, **settings: Any) -> Server:
        server = Server(home, database_url, **settings)
        made.append(server)
        return server

    yield make
    for server in made:
        server.end()


def rows_of(url: str, sql: str) -> list[Any]:
    """What a query finds in our tables."""
    with contextlib.closing(psycopg2.connect(url.replace("+psycopg2", "", 1))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET search_path = stagetune")
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
