"""Every route against everybody: what a token's scope does not include is refused, and nothing else is."""

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.service.api.conftest import ClientOf
from tests.service.api.helpers import DOTS, checkpoint, fence, stored, submission, trained
from tests.service.api.test_access import sql
from tests.service.api.test_routes import MOUNTS, PUBLIC, SCOPES, mounts, routes
from tests.service.api.test_worker import attempt, lease

NOWHERE = "00000000-0000-4000-8000-000000000000"
ATTEMPT = "/v1/worker/tasks/{task}/attempts/{attempt}"
VALUES = {"attempt": "1", "sha256": "a" * 64, "study": "1", "kind": "contour"}
# What somebody holds who is let in; the others are nobody in particular.
MAY = {
    "admin": {"admin", "submit", "read", "worker"},
    "submit": {"submit", "read"},
    "read": {"read"},
    "worker": {"worker"},
    "another worker": {"worker"},
    "session": {"submit", "read"},
}
NOBODY = ["none", "malformed", "expired", "revoked", "ended session"]


def filled(path: str, **values: str) -> str:
    """A path with something in the place of every parameter."""
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: (VALUES | values).get(found[1], NOWHERE), path)


@pytest.fixture
def caller(
    admin: httpx.Client, page: httpx.Client, connect: Callable[..., httpx.Client], module_database: str
) -> Callable[[str], httpx.Client]:
    """A client of each kind."""

    def make(kind: str) -> httpx.Client:
        match kind:
            case "none":
                return connect()
            case "malformed":
                return connect("stagetune_admin_\x7f nonsense")
            case "session":
                return page
            case "ended session":
                client = connect()
                client.cookies.set("stagetune_session", page.cookies["stagetune_session"])
                assert page.post("/v1/logout").status_code == 204
                return client
        scope = "worker" if kind == "another worker" else "admin" if kind in ("expired", "revoked") else kind
        made = admin.post("/v1/tokens", json={"name": f"matrix {kind}", "scope": scope}).json()
        if kind == "expired":
            sql(module_database, f"UPDATE token SET expires_at = now() - interval '1 s' WHERE id = '{made['id']}'")
        if kind == "revoked":
            assert admin.delete(f"/v1/tokens/{made['id']}").status_code == 204
        return connect(made["token"])

    return make


@pytest.mark.parametrize("kind", [*MAY, *NOBODY])
def test_every_route_answers_those_who_may_and_no_others(
    server: Any, caller: Callable[[str], httpx.Client], kind: str
) -> None:
    client, may = caller(kind), MAY.get(kind)
    tried = 0
    # Logging out would end the session that the others need.
    for name in [name for name, _ in routes(server.app) if name != "POST /v1/logout"]:
        assert name in SCOPES or name in PUBLIC, f"{name} is not in the table of routes"
        needed = SCOPES.get(name, "public")
        method, path = name.split(" ")
        answer = client.request(method, filled(path))
        tried += 1
        assert answer.status_code < 500, name
        if needed == "public":
            assert answer.status_code != 403, name
            assert (answer.status_code == 401) <= (path == "/v1/login"), name
        elif needed == "page" or (may is None and path.startswith("/dashboard")):
            led_to_login = answer.status_code == 303 and answer.headers["Location"].startswith("/login")
            assert led_to_login == (may is None or "read" not in may), name
        elif may is None:
            assert answer.status_code == 401, name
            if method != "HEAD":
                assert answer.json()["type"] == "/problems/unauthenticated", name
        else:
            wanted = {"read"} if needed == "dashboard" else set(needed.split())
            assert (answer.status_code == 403) == (not wanted & may), name
            assert answer.status_code != 401, name
    assert tried > 50
    for mount in mounts(server.app):
        assert mount in MOUNTS, f"{mount} is not in the table of mounted applications"
        # Open to everybody, and to nobody more than to look at what is there.
        assert client.get(MOUNTS[mount]).status_code == 200
        assert client.post(MOUNTS[mount]).status_code == 405
        assert client.get(f"{mount}/nothing").status_code == 404


def bodies(sha256: str) -> dict[str, Any]:
    """What the routes of the worker protocol would take."""
    return {
        "heartbeat": {"fraction": 0.5},
        "result": trained(sha256),
        "snapshot": {"sha256": sha256, "fraction": 0.5},
        "failure": {"reason": "crashed", "message": "m"},
        "release": None,
    }


@pytest.mark.parametrize("kind", ["another worker", "admin"])
def test_nobody_speaks_for_a_worker_that_another_token_announced(
    caller: Callable[[str], httpx.Client], worker: httpx.Client, held: dict[str, str], kind: str
) -> None:
    other = caller(kind)
    sha256, data = checkpoint()
    sending = f"/v1/worker/artifacts/{sha256}"
    assert worker.put(sending, params=fence(held), content=data).is_success
    assert other.put(sending, params=fence(held), content=data).status_code == 404
    announcement = {"name": "w1", "device": "cpu", "slots": 4, "datasets": [DOTS]}
    sent = bodies(sha256) | {"{worker}": announcement}
    own = [name for name, scope in SCOPES.items() if scope == "worker" and ("{task}" in name or "{worker}" in name)]
    assert len(own) >= 7
    for name in own:
        method, path = name.split(" ")
        body = sent.get(path.rpartition("/")[2])
        answer = other.request(method, filled(path, **held), json=body)
        assert answer.status_code == 404, (name, answer.text)
        assert answer.json()["type"] == "/problems/not-found"
        if "{task}" in path:
            # As if there were no such task, and whatever the number of the attempt.
            unknown = other.request(method, filled(path, task=NOWHERE), json=body)
            later = other.request(method, filled(path, **{**held, "attempt": "7"}), json=body)
            assert unknown.json() == {**answer.json(), "detail": f"there is no task {NOWHERE}"}
            assert later.json() == answer.json()
    asked = {"worker": held["worker"], "request_id": str(uuid4())}
    assert other.post("/v1/worker/leases", json=asked).status_code == 404

    # Nothing of it had an effect: the lease goes on, and its owner's result counts.
    attempt = f"/v1/worker/tasks/{held['task']}/attempts/{held['attempt']}"
    assert worker.post(f"{attempt}/heartbeat", json={}).json()["command"] == "continue"
    assert worker.put(f"{attempt}/result", json=trained(sha256)).json()["repeated"] is False
    assert other.put(f"{attempt}/result", json=trained(sha256)).status_code == 404


@pytest.mark.parametrize("kind", ["another worker", "admin"])
def test_no_spelling_of_an_address_slips_past_the_owner(
    caller: Callable[[str], httpx.Client], worker: httpx.Client, held: dict[str, str], kind: str
) -> None:
    other, task, n = caller(kind), held["task"], held["attempt"]
    numbers = [f"{n}.0", f"{n}.00", f"+{n}", f"0{n}", f"%20{n}", f"{n}%20", f"{n}e0", "1_0", "0", "-1"]
    numbers += ["\u0661", "\uff11"]
    spelt = [("task", name) for name in spellings(task)] + [("attempt", number) for number in numbers]
    for parameter, spelling in spelt:
        for call in ("heartbeat", "failure", "release"):
            method = "PUT" if call == "failure" else "POST"
            path = filled(f"{ATTEMPT}/{call}", **{**held, parameter: spelling})
            answer = other.request(method, path, json=bodies("a" * 64)[call])
            assert answer.status_code == (404 if parameter == "task" else 422), (path, answer.text)
    for name in spellings(held["worker"]):
        assert other.delete(f"/v1/worker/workers/{name}").status_code == 404
    # Whoever owns it may spell its UUID as others do, but never its number.
    attempts = f"/attempts/{n}/heartbeat"
    for name in spellings(task):
        assert worker.post(f"/v1/worker/tasks/{name}{attempts}", json={}).json()["command"] == "continue"
    for number in numbers:
        refused = worker.post(f"/v1/worker/tasks/{task}/attempts/{number}/heartbeat", json={})
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/invalid-request")


def spellings(name: str) -> list[str]:
    """Other ways to write a UUID."""
    return [name.upper(), name.replace("-", ""), f"urn:uuid:{name}", f"%7B{name}%7D"]


def test_an_attempt_yet_to_come_belongs_to_nobody(
    caller: Callable[[str], httpx.Client], worker: httpx.Client, held: dict[str, str]
) -> None:
    other, name = caller("another worker"), str(uuid4())
    announcement = {"name": "other", "device": "cpu", "slots": 20, "datasets": [DOTS]}
    assert other.put(f"/v1/worker/workers/{name}", json=announcement).status_code == 200
    sha256, _ = checkpoint()
    following = {**held, "attempt": str(int(held["attempt"]) + 1)}
    heartbeat, result = (filled(f"{ATTEMPT}/{call}", **following) for call in ("heartbeat", "result"))
    early = worker.post(heartbeat, json={})
    assert (early.status_code, early.json()["type"]) == (409, "/problems/lease-lost")
    path = filled(f"{ATTEMPT}/release", **held)
    assert worker.post(path).status_code == 204
    leased: list[dict[str, Any]] = []
    while not leased or leased[-1]["task"] != held["task"]:
        ask = {"worker": name, "request_id": str(uuid4()), "wait_seconds": 20}
        leased.append(other.post("/v1/worker/leases", json=ask).json())
    assert str(leased[-1]["attempt"]) == following["attempt"]

    # The token that had the attempt before, and asked for this one, has no part in it.
    assert worker.post(heartbeat, json={}).status_code == 404
    assert worker.put(result, json=trained(sha256)).status_code == 404
    assert other.post(heartbeat, json={}).json()["command"] == "continue"


def test_an_admin_speaks_for_the_worker_that_it_announced(admin: httpx.Client, worker: httpx.Client) -> None:
    name = str(uuid4())
    announcement = {"name": "mine", "device": "cpu"}
    assert admin.put(f"/v1/worker/workers/{name}", json=announcement).status_code == 200
    asked = {"worker": name, "request_id": str(uuid4())}
    assert admin.post("/v1/worker/leases", json=asked).status_code == 204
    assert worker.post("/v1/worker/leases", json=asked).status_code == 404
    assert worker.delete(f"/v1/worker/workers/{name}").status_code == 404
    assert admin.delete(f"/v1/worker/workers/{name}").status_code == 204


def test_a_worker_from_before_belongs_to_whom_announces_it_next(
    worker: httpx.Client, registered: str, client_of: Callable[[str], httpx.Client], module_database: str
) -> None:
    sql(module_database, f"UPDATE worker SET token_id = NULL WHERE id = '{registered}'")
    asked = {"worker": registered, "request_id": str(uuid4())}
    assert worker.post("/v1/worker/leases", json=asked).status_code in (200, 204)
    announcement = {"name": "w1", "device": "cpu", "datasets": [DOTS]}
    assert worker.put(f"/v1/worker/workers/{registered}", json=announcement).status_code == 200
    assert client_of("worker").put(f"/v1/worker/workers/{registered}", json=announcement).status_code == 404


def test_who_claims_through_a_worker_from_before_is_not_remembered_as_the_owner(
    admin: httpx.Client,
    worker: httpx.Client,
    registered: str,
    client_of: Callable[[str], httpx.Client],
    module_database: str,
) -> None:
    made = admin.post("/v1/experiments", json=submission(reuse=False)).json()
    sql(module_database, f"UPDATE worker SET token_id = NULL WHERE id = '{registered}'")
    stranger = client_of("worker")
    task = lease(stranger, registered).json()
    announcement = {"name": "w1", "device": "cpu", "datasets": [DOTS]}
    assert worker.put(f"/v1/worker/workers/{registered}", json=announcement).status_code == 200
    assert stranger.post(f"{attempt(task)}/heartbeat", json={}).status_code == 404
    assert worker.post(f"{attempt(task)}/heartbeat", json={}).status_code == 200
    admin.post(f"/v1/experiments/{made['id']}/cancel")


def test_a_worker_reads_what_its_tasks_name_and_nothing_else(
    server: Any,
    admin: httpx.Client,
    worker: httpx.Client,
    held: dict[str, str],
    client_of: ClientOf,
    module_database: str,
) -> None:
    named = {part: stored(server.app, number) for number, part in enumerate(("prefix", "checkpoint", "snapshot"), 70)}
    digests = {part: sha256 for part, (sha256, _) in named.items()}
    more = json.dumps({"prefix": [{"checkpoint": digests["prefix"]}], "checkpoint": digests["checkpoint"]})
    sql(module_database, f"UPDATE task SET work = work || '{more}' WHERE id = '{held['task']}'")
    snapshot = {"sha256": digests["snapshot"], "fraction": 0.5}
    assert worker.put(filled(f"{ATTEMPT}/snapshot", **held), json=snapshot).status_code == 204
    other, (unnamed, _) = client_of("worker"), stored(server.app, 73)

    def readable() -> list[bool]:
        return [worker.get(f"/v1/artifacts/{sha256}").status_code == 200 for sha256 in digests.values()]

    assert readable() == [True] * 3
    for sha256, data in named.values():
        assert worker.get(f"/v1/artifacts/{sha256}").content == data
        assert worker.head(f"/v1/artifacts/{sha256}").status_code == 200
        # As if it were not there.
        refused, missing = other.get(f"/v1/artifacts/{sha256}"), other.get(f"/v1/artifacts/{'e' * 64}")
        assert (refused.status_code, refused.json()) == (404, missing.json())
        assert other.head(f"/v1/artifacts/{sha256}").status_code == 404
    assert worker.get(f"/v1/artifacts/{unnamed}").status_code == 404
    assert (
        admin.get(f"/v1/artifacts/{unnamed}").status_code
        == client_of("read").get(f"/v1/artifacts/{unnamed}").status_code
        == 200
    )
    # A lease that ran out is the worker's still; one that it gave back is not.
    sql(module_database, f"UPDATE task SET lease_expires_at = now() - interval '1 s' WHERE id = '{held['task']}'")
    assert readable() == [True] * 3
    assert worker.post(filled(f"{ATTEMPT}/heartbeat", **held), json={}).status_code == 200
    assert worker.post(filled(f"{ATTEMPT}/release", **held)).status_code == 204
    assert readable() == [False] * 3


def test_a_worker_sees_nothing_of_experiments(worker: httpx.Client) -> None:
    for path in ("/v1/experiments", "/v1/workers", "/v1/datasets", "/v1/audit", "/api/studies"):
        assert worker.get(path).status_code == 403
