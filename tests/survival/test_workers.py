"""Workers that are paused, stopped, cut off and poisoned: what the real agent and the real server make of it."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.invariants import all_shown
from tests.service.api.helpers import submission
from tests.survival.conftest import Serve, rows_of
from tests.survival.servers import Server, until
from tests.survival.workers import Gate, Labourer

pytestmark = pytest.mark.chaos

LEASE_SECONDS = 2.0
Hire = Callable[[str], Labourer]


@pytest.fixture
def server(serve: Serve, database_url: str) -> Server:
    return serve(
        database_url,
        STAGETUNE_LEASE_SECONDS=f"{LEASE_SECONDS}",
        STAGETUNE_HEARTBEAT_SECONDS="0.3",
        STAGETUNE_REAPER_SECONDS="0.2",
    ).start()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


@pytest.fixture
def hire(server: Server, gate: Gate) -> Iterator[Hire]:
    hired: list[Labourer] = []

    def start(name: str) -> Labourer:
        hired.append(Labourer(server, name, gate))
        return hired[-1]

    yield start
    for worker in hired:
        worker.end()


def submit(server: Server, *, trials: int, workers: int = 1) -> str:
    """Once so many workers have announced themselves and their data."""
    body = submission(
        architectures={"A": ["Conv-3-4"]}, variants=[{"architecture": "A", "learning": "total"}], reuse=False,
        phases=[{"epochs": 1, "trials": trials}],
    )  # fmt: skip
    with server.client() as admin:
        until(lambda: len(admin.get("/v1/workers").json()) == workers, "the workers to be there")
        return str(admin.post("/v1/experiments", json=body).json()["id"])


def finish(server: Server, experiment: str, database_url: str) -> None:
    with server.client() as admin:
        address = f"/v1/experiments/{experiment}"
        until(lambda: admin.get(address).json()["state"] == "finished", "the experiment to end")
    until(lambda: all_shown(database_url), "Optuna to be told")


def leases(database_url: str) -> list[Any]:
    return rows_of(
        database_url, "SELECT t.id, t.attempt, w.name FROM task t JOIN worker w ON w.id = t.worker_id ORDER BY 3"
    )


def test_a_worker_that_was_paused_beyond_its_lease_stops_at_its_next_word(
    server: Server, gate: Gate, hire: Hire, database_url: str
) -> None:
    paused = hire("paused")
    experiment = submit(server, trials=1)
    until(lambda: len(leases(database_url)) == 1, "the first lease")
    ((task, _, _),) = leases(database_url)
    paused.send(signal.SIGSTOP)
    hire("other")
    until(lambda: [row[1:] for row in leases(database_url)] == [(2, "other")], "the other to have the task")
    paused.send(signal.SIGCONT)
    until(lambda: "stopped (lease lost)" in paused.said(), "the first to hear of it")
    gate.allow()
    finish(server, experiment, database_url)
    accepted = f"SELECT w.name, a.n FROM attempt a JOIN worker w ON w.id = a.worker_id WHERE a.task_id = '{task}'"
    assert rows_of(database_url, f"{accepted} AND a.outcome = 'accepted'") == [("other", 2)]
    assert paused.alive


def test_a_worker_that_is_asked_to_stop_hands_back_and_nothing_is_held_against_the_task(
    server: Server, gate: Gate, hire: Hire, database_url: str
) -> None:
    leaving = hire("leaving")
    experiment = submit(server, trials=1)
    until(lambda: len(leases(database_url)) == 1, "the first lease")
    leaving.send(signal.SIGTERM)
    assert leaving.wait() == 0
    hire("next")
    until(lambda: [row[1:] for row in leases(database_url)] == [(2, "next")], "the next to have the task")
    assert rows_of(database_url, "SELECT strikes, outcome FROM task JOIN attempt ON task_id = id AND n = 1") == [
        (0, "released")
    ]
    gate.allow()
    finish(server, experiment, database_url)


def test_a_worker_is_drained_from_afar(server: Server, gate: Gate, hire: Hire, database_url: str) -> None:
    busy = hire("busy")
    experiment = submit(server, trials=1)
    until(lambda: len(leases(database_url)) == 1, "a lease")
    idle = hire("idle")
    with server.client() as admin:
        until(lambda: len(admin.get("/v1/workers").json()) == 2, "both to be there")
        for item in admin.get("/v1/workers").json():
            admin.post(f"/v1/workers/{item['id']}/drain")
    assert (busy.wait(), idle.wait()) == (0, 0)
    assert rows_of(database_url, "SELECT state, strikes FROM task") == [("ready", 0)]
    gate.allow()
    hire("fresh")
    finish(server, experiment, database_url)


def test_a_server_that_is_away_for_several_leases_costs_no_attempt(
    server: Server, gate: Gate, hire: Hire, database_url: str
) -> None:
    workers = [hire(f"worker-{number}") for number in range(4)]
    experiment = submit(server, trials=4, workers=4)
    until(lambda: len(leases(database_url)) == 4, "four leases")
    server.kill()
    time.sleep(3 * LEASE_SECONDS)
    server.start()
    # Longer than a lease: whoever had not come back would have lost it by now.
    beats = "SELECT count(*) FROM task WHERE state = 'leased' AND lease_expires_at > now() + interval '1.2 s'"
    until(lambda: rows_of(database_url, beats) == [(4,)], "all to beat again")
    gate.allow()
    finish(server, experiment, database_url)
    assert rows_of(database_url, "SELECT DISTINCT attempt, strikes FROM task") == [(1, 0)]
    assert all(worker.alive for worker in workers)


def test_a_poisonous_trial_takes_three_attempts_and_the_queue_goes_on(
    server: Server, gate: Gate, hire: Hire, database_url: str
) -> None:
    gate.allow()
    gate.poison("trial 1")
    worker = hire("worker-0")
    experiment = submit(server, trials=3)
    deaths = 0
    with server.client() as admin:
        address = f"/v1/experiments/{experiment}"
        deadline = time.monotonic() + 100
        while admin.get(address).json()["state"] == "running":
            assert time.monotonic() < deadline
            if not worker.alive:
                assert worker.wait() == -signal.SIGSEGV
                deaths += 1
                worker = hire(f"worker-{deaths}")
            time.sleep(0.05)
        failures = admin.get(f"{address}/failures").json()
    assert deaths == 3
    assert [(item["attempt"], item["reason"], item["task_state"]) for item in failures["items"]] == [
        (3, "lost", "failed"), (2, "lost", "failed"), (1, "lost", "failed"),
    ]  # fmt: skip
    assert {item["worker"] for item in failures["items"]} == {"worker-0", "worker-1", "worker-2"}
    assert rows_of(database_url, "SELECT ordinal, state FROM trial ORDER BY 1") == [
        (0, "complete"), (1, "failed"), (2, "complete"),
    ]  # fmt: skip
    finish(server, experiment, database_url)
