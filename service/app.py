"""The composition root: every part of the server is made and wired here, and nowhere else."""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

import anyio.to_thread
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from contract.problems import Problem
from service.api import (
    access,
    artifacts,
    catalogue,
    dashboard,
    events,
    experiments,
    fleet,
    health,
    networks,
    problems,
    worker,
)
from service.api.bell import Bell
from service.api.documents import MAX_BYTES
from service.api.guard import Guard
from service.api.health import installed_version
from service.api.limits import Limits
from service.api.openapi import describe
from service.api.patience import BodyPatience
from service.api.refusals import Refusals
from service.api.services import Services
from service.api.shared import Shared
from service.artifacts import open_store
from service.background import Background
from service.domain.access import Scope
from service.domain.errors import StagetuneError
from service.pages.routes import add_pages
from service.postgres import EmbeddedPostgres, PostgresError, backup_before, normalise_url
from service.settings import Settings, is_loopback
from service.storage import Storage, migrations
from service.tuning.dashboard import find_study, has_study
from service.tuning.projection import StudyProjection
from service.tuning.prune import should_prune
from service.tuning.suggest import suggest
from service.usecases.manage_tokens import ensure_token_file

log = logging.getLogger(__name__)

# Beside the request threads: planner, projector, reaper, collector, and the connections that hold their advisory locks.
_BACKGROUND_CONNECTIONS = 10
_MONITOR_SECONDS = 2.0
_JOIN_SECONDS = 10.0
_LONGEST_SECONDS = 3600.0
# Of a stop, for statements under way; less than requests have in all, so that there is time to answer.
_PATIENCE_SECONDS = 7.0


class StartError(Exception):
    """The server cannot start; the message is one line that says why."""


class Application(FastAPI):
    """FastAPI with our guard outside of everything, so that no answer leaves without having passed it."""

    def build_middleware_stack(self) -> ASGIApp:
        """FastAPI's own stack behind the guard and the limit on slow bodies."""
        settings: Settings = self.state.settings
        patient = BodyPatience(super().build_middleware_stack(), settings.body_seconds)
        return Guard(patient, _hosts(settings), addresses=not is_loopback(settings.host))


def create_app(settings: Settings) -> FastAPI:
    """The application; its lifespan brings the database up and takes it down again."""
    app = Application(
        title="stagetune",
        version=installed_version(),
        summary="Hyperparameter search for convolutional networks trained stage by stage.",
        description="Errors are problem+json (RFC 9457): `type` is stable, `faults` name fields and what to do.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        max_body_size=MAX_BYTES,
        generate_unique_id_function=_operation,
        responses={"4XX": {"model": Problem}, "5XX": {"model": Problem}},
    )
    app.state.settings = settings
    app.state.bell = Bell()
    app.state.limits = Limits(settings)
    app.state.refusals = Refusals(settings)
    app.state.owned_attempts = set()
    app.state.readiness = Shared[dict[str, str]]()
    app.state.database_version = Shared[str]()
    app.state.start_failure = None
    describe(app)
    problems.install(app)
    for room in (health, access, experiments, networks, events, catalogue, fleet, worker, artifacts):
        app.include_router(room.router)
    add_pages(app)
    if settings.dashboard:
        dashboard.add_dashboard(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    anyio.to_thread.current_default_thread_limiter().total_tokens = settings.threads
    app.state.bell.open()
    try:
        with _parts(app, settings) as store:
            hurrying = asyncio.create_task(_hurry(app.state.bell, store))
            try:
                yield
            finally:
                hurrying.cancel()
    except (PostgresError, StagetuneError, OSError) as error:
        app.state.start_failure = StartError(str(error))
        raise
    except Exception as error:
        app.state.start_failure = error
        raise


async def _hurry(bell: Bell, store: Storage) -> None:
    """When the server is asked to stop: after a while, have what still waits for PostgreSQL answered 503.

    Threads cannot be cancelled: their requests would be cut off without an answer, and the process wait for them.
    """
    while not bell.closed:
        await bell.wait(_LONGEST_SECONDS)
    await asyncio.sleep(_PATIENCE_SECONDS)
    store.hang_up()


@contextmanager
def _parts(app: FastAPI, settings: Settings) -> Iterator[Storage]:
    """Start everything in order; at the end, or when something fails, stop it in the reverse order."""
    with ExitStack() as stack:
        # As root the embedded PostgreSQL runs under another account, which has to get through to its files.
        settings.home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        url = _database(settings, stack)
        store = Storage.connect(url, pool_size=settings.threads + _BACKGROUND_CONNECTIONS)
        stack.callback(store.hang_up)
        files = open_store(settings.artifacts, settings.home, settings.artifact_bytes, settings.artifact_spare_bytes)
        ensure_token_file(store, settings.admin_token_file, "first admin token", Scope.ADMIN)
        ensure_token_file(store, settings.worker_token_file, "first worker token", Scope.WORKER)
        projection = StudyProjection(url)
        stack.callback(projection.close)
        app.state.dashboard = dashboard.build_dashboard(projection.storage)
        background = Background(store, suggest, projection, files, settings, app.state.bell.ring)
        find, has = partial(find_study, projection.storage), partial(has_study, projection.storage)
        app.state.services = Services(settings, store, files, app.state.bell, background.wake, should_prune, find, has)
        background.start()
        stack.callback(background.stop)
        yield store


def _database(settings: Settings, stack: ExitStack) -> str:
    """The URL of a database that is up and at this version's revision."""
    if settings.database_url is not None:
        url = with_password(normalise_url(settings.database_url.get_secret_value()), settings.database_password_file)
        migrations.upgrade(url)
        return url
    postgres = EmbeddedPostgres(settings.home)
    # Before the start: a start that fails halfway may have left a process.
    stack.callback(postgres.stop)
    url = postgres.start()

    def keep(revision: str) -> None:
        target = backup_before(postgres, settings.home, migrations.head())
        log.info("the database goes from revision %s to %s; %s has it as it was", revision, migrations.head(), target)

    migrations.upgrade(url, before=keep)
    stack.enter_context(_monitored(postgres))
    return url


@contextmanager
def _monitored(postgres: EmbeddedPostgres) -> Iterator[None]:
    """Start the embedded database again whenever its postmaster dies."""
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.wait(_MONITOR_SECONDS):
            try:
                if not postgres.running():
                    log.warning("the embedded PostgreSQL has died; starting it again")
                    postgres.ensure()
            except PostgresError as error:
                if stopping.is_set():
                    return
                log.error("the embedded PostgreSQL does not start: %s", error)

    thread = threading.Thread(target=watch, name="postgres-monitor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        postgres.give_up_starting()
        thread.join(_JOIN_SECONDS)


def with_password(url: str, file: Path | None) -> str:
    """The URL with the password that stands in a file, as Docker and Kubernetes hand out secrets."""
    if file is None:
        return url
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    if not user or ":" in user:
        raise StartError("STAGETUNE_DATABASE_PASSWORD_FILE needs a database URL with a user and without a password")
    return parts._replace(netloc=f"{user}:{quote(file.read_text().strip(), safe='')}@{place}").geturl()


def _hosts(settings: Settings) -> set[str]:
    """Names the server answers to: this machine's, and those that the settings add."""
    names = {"localhost", "127.0.0.1", "[::1]", settings.host, *settings.allowed_hosts}
    if not is_loopback(settings.host):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return names


def _operation(route: APIRoute) -> str:
    return route.name
