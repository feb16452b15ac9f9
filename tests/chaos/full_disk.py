"""R15 at its full size: PostgreSQL on a disk that is full, again and again, and has room again.

The disk is a tmpfs, so this needs the right to mount one. What CI has of it is a disk error that PostgreSQL raises on
demand, in tests/service/api/test_database_trouble.py.
"""

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from service.postgres import EmbeddedPostgres
from tests.chaos.cases import Spread
from tests.e2e.conftest import Stack
from tests.invariants import all_shown, rows, violations
from tests.service.api.helpers import hold_task, submission

DISK_MB = 150
PIECE = b"x" * 4096


def run(place: Path, times: int, seconds: float) -> dict[str, Any]:
    """Fill the disk ``times`` times for ``seconds`` each, and check that nothing is lost, half there, or silent."""
    with _disk(place) as disk:
        home = disk / "home"
        home.mkdir(mode=0o711)
        settings = {"STAGETUNE_ARTIFACT_SPARE_BYTES": "1000000", "STAGETUNE_OPEN_EXPERIMENTS": "0"}
        stack = Stack(home, None, **settings)
        try:
            return _played(stack, disk / "filler", times, seconds)
        finally:
            stack.stop()
            EmbeddedPostgres(home).stop()


def _played(stack: Stack, filler: Path, times: int, seconds: float) -> dict[str, Any]:
    statuses: Counter[str] = Counter()
    recovery: list[float] = []
    made: set[str] = set()
    url = EmbeddedPostgres(stack.home).url
    with _client(stack, "admin") as admin, _client(stack, "worker") as worker:
        held = hold_task(admin, worker)
        beat = f"/v1/worker/tasks/{held['task']}/attempts/{held['attempt']}/heartbeat"

        def submit() -> bool:
            document = submission(reuse=False) | {"name": "full disk " * 10}
            answer = _counted(statuses, admin.post("/v1/experiments", json=document))
            if answer.status_code == 201:
                made.add(answer.json()["id"])
            return answer.status_code == 201

        for _ in range(times):
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                # Whatever PostgreSQL gave back is taken again.
                _fill(filler)
                submit()
                _counted(statuses, worker.post(beat, json={}))
            filler.unlink()
            freed = time.monotonic()
            stack.until(submit, "room for an experiment")
            recovery.append(time.monotonic() - freed)
            assert worker.post(beat, json={}).json()["command"] == "continue", "an outage costs no lease"
        there = {str(identity) for (identity,) in rows(url, "SELECT CAST(id AS text) FROM stagetune.experiment")}
        assert there == made | {held["experiment"]}, "what was answered is there, and nothing else"
        assert statuses["503"], "the disk was never full"
    stack.until(lambda: all_shown(url), "the studies to be shown")
    assert violations(url, stack.home) == []
    spread = Spread.of(recovery)
    assert spread is not None
    return {
        "fillings": times,
        "requests": statuses.total(),
        "statuses": dict(statuses),
        "recovery": asdict(spread),
    }


def _counted(statuses: Counter[str], answer: httpx.Response) -> httpx.Response:
    statuses[str(answer.status_code)] += 1
    assert answer.status_code in (200, 201, 503), answer.text
    assert answer.status_code != 503 or answer.headers["Retry-After"], "503 without Retry-After"
    return answer


def _client(stack: Stack, scope: str) -> httpx.Client:
    token = (stack.home / f"{scope}-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=stack.url, headers=headers, timeout=60, trust_env=False)


def _fill(filler: Path) -> None:
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(PIECE)


@contextlib.contextmanager
def _disk(place: Path) -> Iterator[Path]:
    """A small disk mounted at a folder."""
    options = f"size={DISK_MB}m,mode=711"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
