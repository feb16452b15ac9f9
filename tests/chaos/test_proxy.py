"""The fault proxy does what it says, and nothing when it is told nothing."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg2
import pytest

from tests.chaos.proxy import HEALTHY, FaultProxy, Faults
from tests.http_server import TOKEN, Answer, FakeServer

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
BODY = b"x" * 200_000


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    fake.on("GET /v1/thing", Answer({"is": "here"}))
    fake.on("PUT /v1/thing", Answer({"is": "stored"}, 201))
    fake.on("GET /v1/large", Answer(BODY))
    yield fake
    fake.close()


@pytest.fixture
def proxy(server: FakeServer) -> Iterator[FaultProxy]:
    with FaultProxy(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as between:
        yield between


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url, headers=HEADERS, timeout=30, trust_env=False) as calls:
        yield calls


def test_a_healthy_proxy_changes_nothing_and_counts_the_answers(proxy: FaultProxy, client: httpx.Client) -> None:
    assert client.get("/v1/thing").json() == {"is": "here"}
    assert client.put("/v1/thing", content=BODY).status_code == 201
    assert client.get("/v1/large").content == BODY
    assert client.get("/v1/nothing").status_code == 404
    assert proxy.requests == 4
    assert dict(proxy.statuses) == {200: 2, 201: 1, 404: 1}
    assert not proxy.done


def test_lost_data_loses_its_connection(proxy: FaultProxy, server: FakeServer, client: httpx.Client) -> None:
    proxy.faults = Faults(loss=1)
    with pytest.raises(httpx.TransportError):
        client.get("/v1/thing")
    assert server.calls == []
    proxy.faults = HEALTHY
    assert client.get("/v1/thing").is_success


def test_a_reset_in_the_middle_of_a_body(proxy: FaultProxy, server: FakeServer, client: httpx.Client) -> None:
    proxy.faults = Faults(reset_after=50_000)
    with pytest.raises(httpx.TransportError):
        client.put("/v1/thing", content=BODY)
    assert all(len(call.body) < 50_000 for call in server.calls)


def test_an_answer_is_cut_after_so_many_bytes(proxy: FaultProxy, client: httpx.Client) -> None:
    proxy.faults = Faults(cut_after=50_000)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/v1/large")
    assert client.get("/v1/thing").is_success, "an answer below the limit passes"


def test_a_repeated_request_arrives_twice_and_is_answered_once(
    proxy: FaultProxy, server: FakeServer, client: httpx.Client
) -> None:
    server.on("PUT /v1/thing", Answer({"time": "first"}, 201), Answer({"time": "second"}))
    proxy.faults = Faults(repeat=1)
    answer = client.put("/v1/thing", content=BODY)
    assert (answer.status_code, answer.json()) == (200, {"time": "second"})
    assert [call.body for call in server.to("PUT /v1/thing")] == [BODY, BODY]
    assert client.get("/v1/thing").is_success, "the same connection goes on"


def test_a_blackhole_gives_back_what_it_held(proxy: FaultProxy, server: FakeServer, client: httpx.Client) -> None:
    proxy.faults = Faults(blackhole=True)
    with pytest.raises(httpx.ReadTimeout):
        client.get("/v1/thing", timeout=0.3)
    assert server.calls == []
    proxy.faults = HEALTHY
    assert client.get("/v1/thing").is_success


def test_a_half_open_connection_stays_silent(proxy: FaultProxy, server: FakeServer, client: httpx.Client) -> None:
    client.get("/v1/thing")
    proxy.faults = Faults(half_open=True)
    with pytest.raises(httpx.ReadTimeout):
        client.get("/v1/thing", timeout=0.3)
    assert len(server.calls) == 2, "the request arrived"
    proxy.faults = HEALTHY
    assert client.get("/v1/thing").is_success, "a fresh connection is healthy"


def test_delay_and_rate_slow_down(proxy: FaultProxy, client: httpx.Client) -> None:
    proxy.faults = Faults(delay=(0.1, 0.2), rate=1_000_000)
    started = time.monotonic()
    assert client.get("/v1/large").content == BODY
    assert time.monotonic() - started >= 0.1 + 0.1 + len(BODY) / 1_000_000


def test_an_upstream_that_is_away_is_a_lost_connection(client: httpx.Client, server: FakeServer) -> None:
    server.close()
    with pytest.raises(httpx.TransportError):
        client.get("/v1/thing")


def test_a_connection_is_cut_after_its_commit_was_sent(chaos_database: str) -> None:
    host, port = (chaos_database.partition(f"{name}=")[2].partition("&")[0] for name in ("host", "port"))
    dsn = chaos_database.replace("+psycopg2", "", 1)
    arrived = []
    with (
        FaultProxy(Path(host) / f".s.PGSQL.{port}", seed=1) as proxy,
        contextlib.closing(psycopg2.connect(dsn)) as direct,
    ):
        through = dsn.replace(f"host={host}", "host=127.0.0.1").replace(f"port={port}", f"port={proxy.port}")
        through += "&sslmode=disable&gssencmode=disable"
        direct.autocommit = True
        with direct.cursor() as cursor:
            cursor.execute("CREATE TABLE public.mark (n integer)")
        for n in range(12):
            proxy.faults = Faults(cut_commit=1)
            with contextlib.closing(psycopg2.connect(through)) as connection, connection.cursor() as cursor:
                cursor.execute("INSERT INTO public.mark VALUES (%s)", (n,))
                with pytest.raises(psycopg2.OperationalError):
                    connection.commit()
        with direct.cursor() as cursor:
            cursor.execute("SELECT n FROM public.mark")
            arrived = [row[0] for row in cursor.fetchall()]
            cursor.execute("DROP TABLE public.mark")
    assert proxy.done["cut_commit"] == 12
    assert 0 < len(arrived) < 12, "some were committed, and nobody was told which"
