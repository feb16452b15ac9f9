"""The database is away, its connections die, are all taken, or wait for a lock: 503, soon, and then as before."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg2
import pytest
from sqlalchemy.exc import TimeoutError as SaturatedPool

from tests.service.api.conftest import Running
from tests.service.api.helpers import DOTS, checkpoint, fence, submission, trained
from tests.service.api.test_matrix import filled
from tests.service.api.test_routes import SCOPES
from tests.service.api.test_worker import attempt, lease

UNAVAILABLE = "/problems/database-unavailable"
# Planner, projector and reaper hold locks and work in a transaction each, the planner with a search's lock beside.
BACKGROUND = 7


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def foreign(postgres: str, module_database: str) -> Iterator[Callable[[str], None]]:
    """Runs statements about the server's database from beside it; ``{name}`` is the database."""
    name = module_database.partition("?")[0].rpartition("/")[2]
    with contextlib.closing(psycopg2.connect(postgres.replace("+psycopg2", "", 1))) as connection:
        connection.autocommit = True

        def execute(sql: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute(sql.format(name=name))

        yield execute
        execute("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")


@pytest.fixture
def ready(admin: httpx.Client) -> Callable[[], None]:
    def wait() -> None:
        until(lambda: bool(admin.get("/readyz").json()["ready"]))

    return wait


@pytest.fixture
def task(admin: httpx.Client, worker: httpx.Client, registered: str) -> Iterator[dict[str, Any]]:
    made = admin.post("/v1/experiments", json=submission(reuse=False)).json()
    yield lease(worker, registered).json()
    admin.post(f"/v1/experiments/{made['id']}/cancel")


def test_without_a_database_every_route_says_when_to_come_back(
    admin: httpx.Client,
    worker: httpx.Client,
    page: httpx.Client,
    foreign: Callable[[str], None],
    ready: Callable[[], None],
    task: dict[str, Any],
) -> None:
    foreign("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
    foreign("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    for name, scope in SCOPES.items():
        method, path = name.split(" ")
        client = {"page": page, "dashboard": page, "worker": worker}.get(scope, admin)
        answer = client.request(method, filled(path))
        assert answer.status_code == 503, name
        assert int(answer.headers["Retry-After"]) > 0, name
        if method != "HEAD":
            assert answer.headers["Content-Type"] == "application/problem+json", name
            assert answer.json()["type"] == UNAVAILABLE, name
    assert admin.get("/healthz").status_code == 200
    until(lambda: admin.get("/readyz").status_code == 503)
    until(lambda: bool(admin.get("/version").json()["database"] == "unavailable"))
    foreign("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
    ready()
    assert worker.post(f"{attempt(task)}/heartbeat", json={}).json()["command"] == "continue"


def test_connections_that_die_under_load_are_replaced(
    server: Running,
    admin: httpx.Client,
    worker: httpx.Client,
    foreign: Callable[[str], None],
    ready: Callable[[], None],
    task: dict[str, Any],
) -> None:
    dying = True
    calls: list[Callable[[], httpx.Response]] = [
        lambda: worker.post(f"{attempt(task)}/heartbeat", json={}),
        lambda: admin.get("/v1/experiments"),
        lambda: admin.get("/v1/workers"),
    ]

    def call(what: Callable[[], httpx.Response]) -> set[int]:
        seen = set()
        while dying:
            seen.add(what().status_code)
        return seen

    with ThreadPoolExecutor(len(calls)) as pool:
        asked = [pool.submit(call, what) for what in calls]
        for _ in range(30):
            foreign(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN"
                " (SELECT pid FROM pg_stat_activity WHERE datname = '{name}' ORDER BY random() LIMIT 1)"
            )
            time.sleep(0.05)
        dying = False
        statuses = set().union(*(one.result() for one in asked))
    assert statuses <= {200, 503}
    assert 200 in statuses
    ready()
    engine = server.app.state.services.store.engine
    with contextlib.ExitStack() as taken:
        # None has leaked: all can be had at once, but for those of the server's own work.
        for _ in range(engine.pool.size() - BACKGROUND):
            taken.enter_context(engine.connect())
    # One that died while it was fresh is found out by the request that gets it.
    until(lambda: {what().status_code for what in calls} == {200})


def test_when_all_connections_are_taken_nobody_waits_for_ever(
    server: Running, admin: httpx.Client, ready: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = server.app.state.services.store.engine
    # Nobody wants to wait for the full ten seconds here.
    monkeypatch.setattr(engine.pool, "_timeout", 0.2)
    with contextlib.ExitStack() as taken:
        held = 0

        def take_one() -> bool:
            # The server's own work has some now and then, and gives them back.
            nonlocal held
            with contextlib.suppress(SaturatedPool):
                taken.enter_context(engine.connect())
                held += 1
            return bool(held == engine.pool.size())

        until(take_one)
        answer = admin.get("/v1/experiments")
        assert (answer.status_code, answer.json()["type"]) == (503, UNAVAILABLE)
        assert answer.headers["Retry-After"]
        assert admin.get("/healthz").status_code == 200
    monkeypatch.undo()
    ready()
    assert admin.get("/v1/experiments").status_code == 200


def test_a_locked_table_holds_requests_up_for_seconds_and_no_longer(
    admin: httpx.Client, worker: httpx.Client, module_database: str, ready: Callable[[], None], task: dict[str, Any]
) -> None:
    with contextlib.closing(psycopg2.connect(module_database.replace("+psycopg2", "", 1))) as locker:
        with locker.cursor() as cursor:
            cursor.execute("LOCK TABLE stagetune.task IN ACCESS EXCLUSIVE MODE")
        # The client's own patience of 40 s would end the test.
        answer = worker.post(f"{attempt(task)}/heartbeat", json={})
        assert (answer.status_code, answer.json()["type"]) == (503, UNAVAILABLE)
        locker.rollback()
    ready()
    assert worker.post(f"{attempt(task)}/heartbeat", json={}).status_code == 200
    assert admin.get("/v1/experiments").status_code == 200


def test_a_database_that_takes_no_writes_is_away_until_it_does(
    admin: httpx.Client,
    worker: httpx.Client,
    foreign: Callable[[str], None],
    ready: Callable[[], None],
    task: dict[str, Any],
) -> None:
    """As after a failover: sessions stay, and the one that was written to only reads."""
    writes: list[Callable[[], httpx.Response]] = [
        lambda: worker.post(f"{attempt(task)}/heartbeat", json={}),
        lambda: admin.post("/v1/experiments", json=submission(reuse=False)),
        lambda: admin.post("/v1/login-codes"),
    ]
    with contextlib.ExitStack() as undone:
        undone.callback(foreign, "ALTER DATABASE {name} RESET default_transaction_read_only")
        foreign("ALTER DATABASE {name} SET default_transaction_read_only = on")
        foreign("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        for write in writes * 3:
            answer = write()
            assert (answer.status_code, answer.json()["type"]) == (503, UNAVAILABLE)
            assert int(answer.headers["Retry-After"]) > 0
    # Nobody ends the sessions that only read.
    until(lambda: {write().status_code for write in writes} <= {200, 201})
    ready()
    for made in admin.get("/v1/experiments").json()["items"]:
        admin.post(f"/v1/experiments/{made['id']}/cancel")


def test_a_result_that_finds_the_databases_disk_full_is_taken_when_there_is_room(
    worker: httpx.Client, task: dict[str, Any], module_database: str
) -> None:
    sha256, data = checkpoint(11)
    assert worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(task), content=data).status_code == 201
    full = """
        CREATE FUNCTION stagetune.full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON stagetune.result EXECUTE FUNCTION stagetune.full_disk();
    """
    with contextlib.closing(psycopg2.connect(module_database.replace("+psycopg2", "", 1))) as beside:
        beside.autocommit = True
        beside.cursor().execute(full)
        answer = worker.put(f"{attempt(task)}/result", json=trained(sha256))
        assert (answer.status_code, answer.json()["type"]) == (503, UNAVAILABLE)
        assert answer.headers["Retry-After"]
        beside.cursor().execute("DROP FUNCTION stagetune.full_disk CASCADE")
    accepted = worker.put(f"{attempt(task)}/result", json=trained(sha256))
    assert (accepted.status_code, accepted.json()["repeated"]) == (200, False)


def test_a_claim_whose_answer_is_lost_strands_nothing(
    admin: httpx.Client, server: Running, worker: httpx.Client, registered: str
) -> None:
    made = admin.post("/v1/experiments", json=submission(reuse=False, phases=[{"epochs": 1, "trials": 100}])).json()
    taken = set()
    for _ in range(40):
        body = {"worker": registered, "request_id": str(uuid4()), "wait_seconds": 20}
        with (
            httpx.Client(base_url=server.url, headers=worker.headers, timeout=40, trust_env=False) as lost,
            lost.stream("POST", "/v1/worker/leases", json=body),
        ):
            pass  # gone before its answer is read
        again, once_more = (worker.post("/v1/worker/leases", json=body).json() for _ in range(2))
        # Each time with its full time again.
        assert again | {"expires_at": None} == once_more | {"expires_at": None}
        assert again["expires_at"] <= once_more["expires_at"]
        assert again["attempt"] == 1
        taken.add(again["task"])
        told = {"reason": "user-error", "message": "enough of it"}
        assert worker.put(f"{attempt(again)}/failure", json=told).status_code == 200
    assert len(taken) == 40
    admin.post(f"/v1/experiments/{made['id']}/cancel")


def test_fifty_workers_lease_two_hundred_tasks_once_each(
    admin: httpx.Client, server: Running, worker: httpx.Client
) -> None:
    names = [str(uuid4()) for _ in range(50)]
    register = {"name": "many", "device": "cpu", "slots": 4, "datasets": [DOTS]}
    for name in names:
        assert worker.put(f"/v1/worker/workers/{name}", json=register).status_code == 200
    submitted = submission(
        reuse=False, phases=[{"epochs": 1, "trials": 200}], architectures={"A": ["Conv-3-4"]},
        variants=[{"architecture": "A", "learning": "total"}],
    )  # fmt: skip
    made = admin.post("/v1/experiments", json=submitted).json()
    search = made["stage_searches"][0]["id"]
    until(lambda: len(admin.get(f"/v1/searches/{search}/trials").json()) == 200)

    def claim(name: str) -> list[tuple[str, int]]:
        with httpx.Client(base_url=server.url, headers=worker.headers, timeout=60, trust_env=False) as mine:
            leases = [lease(mine, name).json() for _ in range(4)]
        return [(item["task"], item["attempt"]) for item in leases]

    with ThreadPoolExecutor(50) as pool:
        taken = [item for found in pool.map(claim, names) for item in found]
    assert len(taken) == len(set(taken)) == 200
    assert {n for _, n in taken} == {1}
    admin.post(f"/v1/experiments/{made['id']}/cancel")
    for name in names:
        worker.delete(f"/v1/worker/workers/{name}")
