"""A whole server without sockets and threads of its own, for tests that decide what happens when."""

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import anyio.from_thread
from starlette.testclient import TestClient

from service.api.services import Services
from service.app import create_app
from service.artifacts import open_store
from service.background import Background
from service.domain.access import Scope
from service.settings import Settings
from service.storage import Storage
from service.tuning.projection import StudyProjection
from service.usecases.manage_tokens import ensure_token_file
from tests.service.lab import never, suggest

STRIKES = 3
# Leases run out when a test says so; the machine is never so slow that they do by themselves.
LEASE_SECONDS = 3600.0
KEPT = ("token", "alembic_version")


class Answer(Protocol):
    """What the test client returns, whichever library it is made with."""

    @property
    def status_code(self) -> int: ...
    @property
    def is_success(self) -> bool: ...
    @property
    def text(self) -> str: ...
    def json(self) -> Any: ...


class World:
    """A server without sockets and threads of its own, which may be restarted, on a database that may be emptied."""

    def __init__(self, database_url: str, home: Path) -> None:
        self.url, self.home = database_url, home
        self.settings = Settings.load(
            home=home,
            database_url=database_url,
            lease_seconds=LEASE_SECONDS,
            heartbeat_seconds=1,
            max_strikes=STRIKES,
            dashboard=False,
            requests_per_minute=0,
            claims_per_minute=0,
        )
        self.statuses: Counter[int] = Counter()
        self._portal = contextlib.ExitStack()
        self._loop = self._portal.enter_context(anyio.from_thread.start_blocking_portal())
        self._projection = StudyProjection(database_url)
        self._build()
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'stagetune' AND tablename <> ALL(:kept)"
        found = [row[0] for row in self.rows(tables, kept=list(KEPT))]
        self._empty = f"TRUNCATE {', '.join(found)}, optuna.studies CASCADE"

    def _build(self) -> None:
        self.store = Storage.connect(self.url, pool_size=8)
        files = open_store(self.settings.artifacts, self.home, self.settings.artifact_bytes)
        self.background = Background(self.store, suggest, self._projection, files, self.settings)
        self._projection.prepare()
        app = create_app(self.settings)
        app.state.services = Services(
            self.settings, self.store, files, app.state.bell, _asleep, never, lambda _: None, lambda _: False
        )
        tokens = {"admin": self.settings.admin_token_file, "worker": self.settings.worker_token_file}
        for scope, file in tokens.items():
            ensure_token_file(self.store, file, scope, Scope(scope))
        self._secrets = {scope: file.read_text().strip() for scope, file in tokens.items()}
        self._client = TestClient(app, base_url="http://localhost")
        # One event loop for all requests; entering the client would start the lifespan as well.
        self._client.portal = self._loop

    def restart(self) -> None:
        """As after a kill -9: nothing but the database and the files is left."""
        self.store.close()
        self._build()

    def plan(self) -> None:
        """A pass of the planner, and one of the projector."""
        self.background.plan()
        self.background.project()

    def reset(self) -> None:
        """Forget everything but the tokens."""
        self.run(self._empty)
        for file in (self.home / "artifacts").glob("??/*"):
            file.unlink()

    def close(self) -> None:
        self.store.close()
        self._projection.close()
        self._portal.close()

    def call(self, method: str, path: str, body: Any = None, *, scope: str = "worker", **more: Any) -> Answer:
        """A request; whatever it does, it is no error of the server."""
        headers = {"Authorization": f"Bearer {self._secrets[scope]}"}
        answer: Answer = self._client.request(method, path, json=body, headers=headers, **more)
        self.statuses[answer.status_code] += 1
        assert answer.status_code < 500, answer.text
        return answer

    def rows(self, sql: str, **parameters: object) -> list[Any]:
        with self.store.reading() as tx:
            return list(tx.execute(sql, parameters))

    def run(self, sql: str, **parameters: object) -> None:
        with self.store.transaction() as tx:
            tx.execute(sql, parameters)


def _asleep() -> None:
    """The planner plans when a rule says so."""
