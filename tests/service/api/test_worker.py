import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service.usecases.lease_task import lease_task
from tests.service.api.helpers import DOTS, checkpoint, evaluated, fence, submission, trained

REGISTRATION = {"name": "w1", "device": "cpu", "slots": 4, "datasets": [DOTS]}


def lease(worker: httpx.Client, name: str, wait: float = 20, request: str | None = None) -> httpx.Response:
    body = {"worker": name, "request_id": request or str(uuid4()), "wait_seconds": wait}
    return worker.post("/v1/worker/leases", json=body)


def attempt(task: dict[str, Any]) -> str:
    return f"/v1/worker/tasks/{task['task']}/attempts/{task['attempt']}"


@pytest.fixture
def task(admin: httpx.Client, worker: httpx.Client, registered: str) -> dict[str, Any]:
    """A leased trial of an experiment of this test's own."""
    assert admin.post("/v1/experiments", json=submission(reuse=False)).status_code == 201
    answer = lease(worker, registered)
    assert answer.status_code == 200
    leased: dict[str, Any] = answer.json()
    return leased


@pytest.fixture(autouse=True)
def _nothing_runs_on(admin: httpx.Client) -> Any:
    yield
    for item in admin.get("/v1/experiments?state=running").json()["items"]:
        admin.post(f"/v1/experiments/{item['id']}/cancel")


def test_a_fake_worker_carries_an_experiment_to_its_end(
    admin: httpx.Client, worker: httpx.Client, registered: str
) -> None:
    experiment = admin.post("/v1/experiments", json=submission(seeds=[0, 1])).json()
    sha256, data = checkpoint()
    kinds: list[str] = []
    while admin.get(f"/v1/experiments/{experiment['id']}").json()["state"] == "running":
        answer = lease(worker, registered, wait=2)
        if answer.status_code == 204:
            continue
        task = answer.json()
        kinds.append(task["kind"])
        assert task["work"]["dataset"]["digest"] == DOTS["digest"]
        accuracy = 0.5 + len(kinds) / 100
        if task["kind"] == "evaluate":
            result = evaluated(accuracy)
        else:
            beat = {"reports": [{"step": 1, "epoch": 0.5, "validation_accuracy": 0.4}], "fraction": 0.5}
            assert worker.post(f"{attempt(task)}/heartbeat", json=beat).json()["command"] == "continue"
            sent = worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(task), content=data)
            assert sent.status_code in (200, 201)
            result = trained(sha256, accuracy)
        accepted = worker.put(f"{attempt(task)}/result", json=result)
        assert accepted.status_code == 200
        assert accepted.json()["repeated"] is False
    ended = admin.get(f"/v1/experiments/{experiment['id']}").json()
    assert ended["state"] == "finished"
    assert sorted(set(kinds)) == ["evaluate", "fit", "trial"]
    assert kinds.count("trial") == 9
    assert {search["state"] for search in ended["stage_searches"]} == {"decided"}
    report = admin.get(f"/v1/experiments/{experiment['id']}/report").json()
    assert [line["state"] for line in report["variants"]] == ["complete", "complete"]
    assert len(report["gaps"]) == 1
    trials = admin.get(f"/v1/searches/{ended['stage_searches'][0]['id']}/trials").json()
    assert [trial["ordinal"] for trial in trials] == [0, 1, 2]
    assert {trial["state"] for trial in trials} == {"complete"}


def test_a_repeated_request_gets_the_same_lease(admin: httpx.Client, worker: httpx.Client, registered: str) -> None:
    admin.post("/v1/experiments", json=submission(reuse=False))
    request = str(uuid4())
    first, again = (lease(worker, registered, request=request).json() for _ in range(2))
    assert (first["task"], first["attempt"]) == (again["task"], again["attempt"])


def test_a_result_is_accepted_once_and_repeats_are_answered_the_same(
    worker: httpx.Client, task: dict[str, Any]
) -> None:
    sha256, data = checkpoint()
    worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(task), content=data)
    first = worker.put(f"{attempt(task)}/result", json=trained(sha256))
    again = worker.put(f"{attempt(task)}/result", json=trained(sha256))
    assert (first.json()["repeated"], again.json()["repeated"]) == (False, True)
    other = worker.put(f"{attempt(task)}/result", json=trained(sha256, 0.9))
    assert other.status_code == 422
    assert other.json()["type"] == "/problems/result-conflict"


def test_a_superseded_attempt_is_told_to_stop(worker: httpx.Client, registered: str, task: dict[str, Any]) -> None:
    assert worker.post(f"{attempt(task)}/release").status_code == 204
    held: list[dict[str, Any]] = []
    while not held or held[-1]["task"] != task["task"]:
        held.append(lease(worker, registered).json())
    assert held[-1]["attempt"] > task["attempt"]
    for answer in (
        worker.post(f"{attempt(task)}/heartbeat", json={}),
        worker.put(f"{attempt(task)}/result", json=trained(checkpoint()[0])),
        worker.put(f"{attempt(task)}/failure", json={"reason": "crashed", "message": "late"}),
        worker.post(f"{attempt(task)}/release"),
        worker.put(f"/v1/worker/artifacts/{checkpoint()[0]}", params=fence(task), content=checkpoint()[1]),
    ):
        assert answer.status_code == 409
        assert answer.json()["type"] == "/problems/lease-lost"


def test_a_result_needs_its_checkpoint_uploaded(worker: httpx.Client, task: dict[str, Any]) -> None:
    answer = worker.put(f"{attempt(task)}/result", json=trained("a" * 64))
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/invalid-artifact"


def test_an_artifact_of_the_present_attempt_is_stored(worker: httpx.Client, task: dict[str, Any]) -> None:
    sha256, data = checkpoint(1234)
    assert worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(task), content=data).status_code == 201
    for half in ({}, {"task": task["task"]}, {"attempt": 1}, fence(task) | {"attempt": "1.0"}):
        refused = worker.put(f"/v1/worker/artifacts/{sha256}", params=half, content=data)
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/invalid-request")
    unknown = fence(task) | {"task": str(uuid4())}
    assert worker.put(f"/v1/worker/artifacts/{sha256}", params=unknown, content=data).status_code == 404


def test_a_failure_says_whether_the_task_is_tried_again(worker: httpx.Client, task: dict[str, Any]) -> None:
    answer = worker.put(f"{attempt(task)}/failure", json={"reason": "crashed", "message": "boom", "log": "line\n"})
    assert answer.json()["state"] == "ready"


def test_an_unknown_worker_is_told_to_register(worker: httpx.Client) -> None:
    assert lease(worker, str(uuid4()), wait=0).status_code == 404


def test_without_work_the_long_poll_ends_by_itself(worker: httpx.Client, registered: str) -> None:
    assert lease(worker, registered, wait=0.2).status_code == 204


def test_a_waiting_worker_gets_work_as_soon_as_it_is_submitted(
    admin: httpx.Client, worker: httpx.Client, registered: str
) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(lease, worker, registered, 25)
        admin.post("/v1/experiments", json=submission(reuse=False))
        assert waiting.result().status_code == 200


def test_a_worker_whose_token_ends_while_it_waits_gets_no_task(
    admin: httpx.Client, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = admin.post("/v1/tokens", json={"name": "ends", "scope": "worker"}).json()
    client, name, looked = connect(made["token"]), str(uuid4()), threading.Event()
    assert client.put(f"/v1/worker/workers/{name}", json=REGISTRATION).status_code == 200

    def watched(*arguments: Any) -> Any:
        found = lease_task(*arguments)
        looked.set()
        return found

    monkeypatch.setattr("service.api.worker.lease_task", watched)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(lease, client, name, 25)
        assert looked.wait(20)
        assert admin.delete(f"/v1/tokens/{made['id']}").status_code == 204
        admin.post("/v1/experiments", json=submission(reuse=False))
        answer = waiting.result()
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthenticated")
    (seen,) = [item for item in admin.get("/v1/workers").json() if item["id"] == name]
    assert seen["leases"] == 0


def test_many_waiting_workers_hold_neither_threads_nor_connections(
    admin: httpx.Client, connect: Any, server: Any, worker: httpx.Client, registered: str
) -> None:
    token = worker.headers["Authorization"].removeprefix("Bearer ")
    waiting = 3 * server.settings.threads
    with ThreadPoolExecutor(waiting) as pool:
        polls = [pool.submit(lease, connect(token), registered, 3) for _ in range(waiting)]
        deadline = time.monotonic() + 30
        answered = 0
        while not all(poll.done() for poll in polls):
            assert time.monotonic() < deadline
            assert admin.get("/v1/workers").status_code == 200
            answered += 1
        assert {poll.result().status_code for poll in polls} == {204}
    assert answered > 1


def test_a_snapshot_goes_to_the_next_attempt_and_only_the_newest_is_kept(
    worker: httpx.Client, registered: str, task: dict[str, Any]
) -> None:
    assert task["snapshot"] is None
    names = []
    for number, fraction in enumerate((0.25, 0.5)):
        sha256, data = checkpoint(100 + number)
        named = {"sha256": sha256, "fraction": fraction}
        early = worker.put(f"{attempt(task)}/snapshot", json=named)
        assert (early.status_code, early.json()["type"]) == (422, "/problems/invalid-artifact")
        worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(task), content=data)
        for _ in range(2):
            assert worker.put(f"{attempt(task)}/snapshot", json=named).status_code == 204
        names.append(sha256)
    assert [worker.get(f"/v1/artifacts/{name}").status_code for name in names] == [404, 200]
    for odd in (-0.1, 1.1, None, "a"):
        refused = worker.put(f"{attempt(task)}/snapshot", json={"sha256": names[1], "fraction": odd})
        assert refused.status_code == 422

    assert worker.post(f"{attempt(task)}/release").status_code == 204
    taken = lease(worker, registered).json()
    while taken["task"] != task["task"]:
        taken = lease(worker, registered).json()

    assert taken["snapshot"] == {"sha256": names[1], "fraction": 0.5}
    stale = worker.put(f"{attempt(task)}/snapshot", json={"sha256": names[1], "fraction": 0.5})
    assert (stale.status_code, stale.json()["type"]) == (409, "/problems/lease-lost")
