"""Chromium before a server with a database, and a worker that makes its figures up."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.service.api.conftest import Running
from tests.service.api.conftest import admin as admin
from tests.service.api.conftest import connect as connect
from tests.service.api.conftest import module_database as module_database
from tests.service.api.conftest import registered as registered
from tests.service.api.conftest import server as server
from tests.service.api.conftest import worker as worker
from tests.service.api.helpers import checkpoint, evaluated, fence, trained

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

# For tests that hang, no measure of speed.
PATIENCE_MS = 60_000

Enter = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The machine's own browser: nothing is downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        assert "CI" not in os.environ, "no Chromium here"
        pytest.skip("no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        expect.set_options(timeout=PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture
def enter(chromium: Browser, server: Running, admin: httpx.Client) -> Iterator[Enter]:
    """Opens browsers of their own, logged in unless told otherwise; none may have anything to complain of."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(*, login: bool = True, **options: Any) -> Page:
        context = chromium.new_context(base_url=server.url, **options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        # Refusals by the content security policy arrive on the console as well.
        context.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        page = context.new_page()
        if login:
            page.goto(link(admin))
            page.wait_for_url(f"{server.url}/")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in complaints if "401 (Unauthorized)" not in text] == []


def link(admin: httpx.Client) -> str:
    """What `stagetune open` prints, from the slash on."""
    return str(admin.post("/v1/login-codes").json()["path"])


def train(worker: httpx.Client, name: str, most: int | None = None) -> int:
    """Do the tasks there are, at most so many, and return their number."""
    sha256, data = checkpoint()
    done = 0
    while done != most:
        ask = {"worker": name, "request_id": str(uuid4()), "wait_seconds": 3}
        answer = worker.post("/v1/worker/leases", json=ask)
        if answer.status_code == 204:
            break
        task = answer.json()
        assert worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(task), content=data).is_success
        accuracy = 0.5 + done / 100
        result = evaluated(accuracy) if task["kind"] == "evaluate" else trained(sha256, accuracy)
        path = f"/v1/worker/tasks/{task['task']}/attempts/{task['attempt']}/result"
        assert worker.put(path, json=result).is_success
        done += 1
    return done
