"""``python -m tests.chaos.nightly [CASE ...]``: the chaos cases at their full sizes, one after the other.

A case that has passed is not run again: its figures stand in the state file, one JSON document a line, beside the
machine they were measured on. Interrupt it and start it again, or remove a line to measure a case anew.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import describe
from service.postgres import EmbeddedPostgres
from service.storage.migrations import upgrade
from tests.chaos import cases, full_disk, lease_machine, repeated, resume
from tests.e2e.conftest import Stack

STATE = Path("chaos-nightly.jsonl")
GAMES, STEPS = 2_000, 60
KILLS = 20
FILLINGS, FULL_SECONDS = 20, 10.0
NAMES = ("R4", "R6", "R15", *cases.CASES, *repeated.CASES)
AFTER = {
    "recovery": "the end of an outage, to the first request that succeeds",
    "restarted": "the server's kill, its start included, to the first request that succeeds",
    "reclaimed": "a worker's kill, to the next attempt at its task",
}


def main() -> int:
    """Run what is left to do; the number of cases that failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.nightly", description="Chaos at its full size.")
    parser.add_argument("names", nargs="*", metavar="CASE", help=f"of {', '.join(NAMES)}; default: all of them")
    parser.add_argument("--state", type=Path, default=STATE, help="the file of finished cases (default: %(default)s)")
    parser.add_argument("--size", choices=("ci", "nightly"), default="nightly")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print what the file has as Markdown, and run nothing")
    options = parser.parse_args()
    if options.table:
        sys.stdout.write(table(options.state))
        return 0
    wanted = [name.upper() for name in options.names] or list(NAMES)
    if unknown := set(wanted) - set(NAMES):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    # As Ctrl-C does: what was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    left = [name for name in wanted if (name, options.size) not in set(finished(options.state))]
    sys.stderr.write(f"{len(wanted) - len(left)} done before, to do: {', '.join(left) or 'nothing'}\n")
    return sum(not _run(name, options.size, options.seed, options.state) for name in left)


def finished(state: Path) -> Iterable[tuple[str, str]]:
    """The cases that have passed, with their sizes."""
    for document in _kept(state):
        yield document["case"], document["size"]


def table(state: Path) -> str:
    """The figures of the finished cases in Markdown, with what they were measured on."""
    documents = sorted(_kept(state), key=lambda document: (document["case"][0], int(document["case"][1:])))
    lines = ["| | done to it | trials | attempts | lost | resumed | dead letters | requests | 503 | other 5xx | s |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for figures in (document for document in documents if "trials" in document):
        statuses = figures["statuses"]
        odd = sum(number for status, number in statuses.items() if status.startswith("5") and status != "503")
        cells = [
            f"{figures['blows']:,} {figures['blows_are']}",
            *(f"{figures[name]:,}" for name in ("trials", "attempts", "lost", "resumed", "dead_letters", "requests")),
            f"{statuses.get('503', 0):,}", str(odd), f"{figures['seconds']:,.0f}",
        ]  # fmt: skip
        lines.append(f"| {figures['case']} | {' | '.join(cells)} |")
    lines += ["", "| | after | times | p50 | p99 | longest |", "|---|---|---:|---:|---:|---:|"]
    for figures in documents:
        for key, after in AFTER.items():
            if spread := figures.get(key):
                cells = [f"{spread[name]:.2f} s" for name in ("p50", "p99", "max")]
                lines.append(f"| {figures['case']} | {after} | {spread['count']} | {' | '.join(cells)} |")
    lines += ["", "| | tests | times | tries in all | s |", "|---|---:|---:|---:|---:|"]
    for figures in (document for document in documents if "tries" in document):
        cells = [f"{figures[name]:,}" for name in ("tests", "times", "tries")]
        lines.append(f"| {figures['case']} | {' | '.join(cells)} | {figures['seconds']:,.0f} |")
    return "\n".join([*lines, "", *sorted({figures["machine"] for figures in documents})]) + "\n"


def _kept(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in state.read_text().splitlines()] if state.exists() else []


def _run(name: str, size: str, seed: int, state: Path) -> bool:
    """Run one case and keep its figures; whether it passed."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {name} begins\n")
    try:
        figures = _figures(name, size, seed)
    except Exception:
        sys.stderr.write(f"{name} failed:\n{traceback.format_exc()}\n")
        return False
    document = figures | {
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe("sqlalchemy", "fastapi", "optuna"),
        "load": os.getloadavg()[0],
    }
    with state.open("a") as file:
        file.write(json.dumps(document) + "\n")
    sys.stderr.write(f"{json.dumps(document)}\n")
    return True


def _figures(name: str, size: str, seed: int) -> dict[str, Any]:
    if name in cases.CASES:
        return cases.run(name, size, seed).document()
    if name in repeated.CASES:
        return {"size": size} | repeated.run(name, 1 if size == "ci" else None)
    began = time.monotonic()
    match name:
        case "R4":
            figures = _lease_machine(size, seed)
        case "R6":
            figures = _resume(size, seed)
        case _:
            figures = _full_disk(size)
    return {"case": name, "size": size, "seconds": round(time.monotonic() - began, 1)} | figures


def _lease_machine(size: str, seed: int) -> dict[str, Any]:
    games, steps = (GAMES, STEPS) if size == "nightly" else (25, 30)
    with _database() as (home, url):
        return lease_machine.run(url, home, games, steps, chance=seed, shrink=True)


def _resume(size: str, seed: int) -> dict[str, Any]:
    with _database() as (home, url):
        stack = Stack(home, url)
        try:
            return {"seed": seed} | resume.run(stack, url, home, KILLS if size == "nightly" else 3, seed).document()
        finally:
            stack.stop()


def _full_disk(size: str) -> dict[str, Any]:
    fillings, seconds = (FILLINGS, FULL_SECONDS) if size == "nightly" else (2, 2.0)
    with tempfile.TemporaryDirectory(prefix="stagetune-chaos-", dir="/tmp") as folder:
        return full_disk.run(Path(folder), fillings, seconds)


@contextmanager
def _database() -> Iterator[tuple[Path, str]]:
    """A home, and the URL of a migrated database on an embedded server in it."""
    with tempfile.TemporaryDirectory(prefix="stagetune-chaos-", dir="/tmp") as folder:
        home = Path(folder)
        home.chmod(0o711)
        with EmbeddedPostgres(home, fsync=False) as server:
            upgrade(server.url)
            yield home, server.url


if __name__ == "__main__":
    sys.exit(main())
