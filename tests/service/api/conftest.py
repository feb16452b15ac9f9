"""A server on a socket over a database of its own for each test module, and clients of every scope."""

import asyncio
import contextlib
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import httpx
import psycopg2
import pytest
import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.service.api.helpers import DOTS, hold_task

ClientOf = Callable[[str], httpx.Client]


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    app: FastAPI
    settings: Settings
    url: str


@pytest.fixture(scope="module")
def module_database(postgres: str, template_database: str) -> Iterator[str]:
    name = f"api_{uuid.uuid4().hex[:12]}"
    _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    place = postgres.replace("postgresql+psycopg2://", "", 1)
    before, _, after = place.partition("/")
    yield f"postgresql+psycopg2://{before}/{name}" + (f"?{after.partition('?')[2]}" if "?" in after else "")
    _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """With the ``SETTINGS`` of the module, if it has any."""
    settings = Settings.load(
        home=tmp_path_factory.mktemp("home"),
        database_url=module_database,
        threads=6,
        planner_seconds=0.1,
        reaper_seconds=0.5,
        artifact_bytes=100_000,
        # Limits on rates have tests of their own; here they would only count how fast the machine is.
        requests_per_minute=0,
        claims_per_minute=0,
        logins_per_minute=0,
        guesses_per_minute=0,
        **getattr(request.module, "SETTINGS", {}),
    )
    app = create_app(settings)
    with serving(app) as url:
        yield Running(app, settings, url)


@contextlib.contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The application on a free port, with its lifespan."""
    listening = socket.create_server(("127.0.0.1", 0))
    # On a busy machine a test may rest for seconds, and its next request must not meet the end of its connection.
    config = uvicorn.Config(
        app, http="h11", log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=5,
        timeout_keep_alive=60,
    )  # fmt: skip
    running = uvicorn.Server(config)
    started = threading.Event()
    startup = running.startup

    async def startup_and_tell(sockets: list[socket.socket] | None = None) -> None:
        try:
            await startup(sockets)
        finally:
            started.set()

    running.startup = startup_and_tell  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: asyncio.run(running.serve(sockets=[listening])), daemon=True)
    thread.start()
    assert started.wait(60)
    assert running.started, app.state.start_failure
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        app.state.bell.close()
        running.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def connect(server: Running) -> Iterator[Callable[..., httpx.Client]]:
    """Makes clients that are closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(token: str | None = None) -> httpx.Client:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return stack.enter_context(httpx.Client(base_url=server.url, headers=headers, timeout=40, trust_env=False))

        yield make


@pytest.fixture
def anonymous(connect: Callable[..., httpx.Client]) -> httpx.Client:
    return connect()


@pytest.fixture
def admin(server: Running, connect: Callable[..., httpx.Client]) -> httpx.Client:
    return connect(server.settings.admin_token_file.read_text().strip())


@pytest.fixture
def worker(server: Running, connect: Callable[..., httpx.Client]) -> httpx.Client:
    return connect(server.settings.worker_token_file.read_text().strip())


@pytest.fixture
def client_of(admin: httpx.Client, connect: Callable[..., httpx.Client]) -> ClientOf:
    """A client whose token has a scope."""

    def make(scope: str) -> httpx.Client:
        return connect(admin.post("/v1/tokens", json={"name": f"a {scope}", "scope": scope}).json()["token"])

    return make


@pytest.fixture
def page(admin: httpx.Client, connect: Callable[..., httpx.Client]) -> httpx.Client:
    """A browser that has logged in."""
    browser = connect()
    code = admin.post("/v1/login-codes").json()["code"]
    assert browser.post("/v1/login", json={"code": code}).status_code == 204
    return browser


@pytest.fixture
def registered(worker: httpx.Client) -> Iterator[str]:
    """The id of a worker that holds the dots."""
    name = str(uuid4())
    body = {"name": "w1", "device": "cpu", "slots": 4, "datasets": [DOTS]}
    assert worker.put(f"/v1/worker/workers/{name}", json=body).status_code == 200
    yield name
    worker.delete(f"/v1/worker/workers/{name}")


def _execute(url: str, sql: str) -> None:
    with contextlib.closing(psycopg2.connect(url.replace("+psycopg2", "", 1))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)


@pytest.fixture
def held(admin: httpx.Client, worker: httpx.Client) -> Iterator[dict[str, str]]:
    """A task that a worker of the worker token holds, as parameters of addresses."""
    made = hold_task(admin, worker)
    yield made
    worker.delete(f"/v1/worker/workers/{made['worker']}")
    admin.post(f"/v1/experiments/{made['experiment']}/cancel")
