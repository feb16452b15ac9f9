"""The audit trail: who did or tried what, on what, from where and how it ended; never a secret, never without bound."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service.api.refusals import MOST_LINES, SEVERAL, Refusals
from service.domain.access import Identity, Scope
from service.settings import Settings
from service.storage import Storage
from service.usecases.read_audit import read_audit
from service.usecases.write_audit import SWEEP_EVERY, UNKNOWN, begin_entry
from tests.service.api.conftest import ClientOf
from tests.service.api.helpers import submission

NOWHERE = "00000000-0000-4000-8000-000000000000"
Entry = dict[str, Any]


def trail(admin: httpx.Client, limit: int = 200) -> list[Entry]:
    found: list[Entry] = admin.get("/v1/audit", params={"limit": limit}).json()["items"]
    return found


def of(admin: httpx.Client, object_: str) -> list[tuple[str, str, str]]:
    """Action, outcome and scope of what was done to something, oldest first."""
    found = [entry for entry in trail(admin) if object_ in entry["object"]]
    return [(entry["action"], entry["outcome"], entry["scope"]) for entry in reversed(found)]


def test_what_is_done_to_experiments_is_written_down(admin: httpx.Client, page: httpx.Client, registered: str) -> None:
    assert registered
    experiment = page.post("/v1/experiments", json=submission(reuse=False)).json()["id"]
    for verb in ("pause", "resume", "cancel", "pause"):
        admin.post(f"/v1/experiments/{experiment}/{verb}")
    assert page.delete(f"/v1/experiments/{experiment}").status_code == 403
    assert admin.delete(f"/v1/experiments/{experiment}").status_code == 204
    assert of(admin, experiment) == [
        ("submit", "done", "submit"),
        ("pause", "done", "admin"),
        ("resume", "done", "admin"),
        ("cancel", "done", "admin"),
        ("pause", "conflict", "admin"),
        ("purge", "done", "admin"),
    ]
    entries = trail(admin)
    assert {entry["address"] for entry in entries} == {"127.0.0.1"}
    assert any(
        e["action"] == "purge" and e["outcome"] == "forbidden" and e["actor"].startswith("page (") for e in entries
    )
    assert any(e["action"] == "log_in" and e["outcome"] == "done" for e in entries)


def test_what_is_done_to_tokens_is_written_down_without_secrets(admin: httpx.Client) -> None:
    made = admin.post("/v1/tokens", json={"name": "noted", "scope": "read"}).json()
    admin.delete(f"/v1/tokens/{made['id']}")
    admin.post("/v1/tokens", json={"name": "noted", "scope": "root"})
    assert of(admin, made["id"]) == [("create_token", "done", "admin"), ("revoke_token", "done", "admin")]
    last = trail(admin)[0]
    assert (last["action"], last["outcome"], last["object"]) == ("create_token", "invalid-request", "")
    assert last["actor"].startswith("first admin token (")
    assert made["token"] not in str(trail(admin))


def test_reading_leaves_no_line(admin: httpx.Client, page: httpx.Client) -> None:
    before = trail(admin)[0]["id"]
    for client in (admin, page):
        client.get("/v1/experiments")
        client.get(f"/v1/experiments/{NOWHERE}")
        client.post("/v1/plans", json=submission())
    admin.get("/v1/tokens")
    assert trail(admin)[0]["id"] == before


def test_a_flood_of_wrong_secrets_is_a_few_lines(
    admin: httpx.Client, anonymous: httpx.Client, worker: httpx.Client
) -> None:
    before = len(trail(admin))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: anonymous.get("/v1/tokens", headers={"Authorization": f"Bearer {n:040d}"}), range(200)))
    for _ in range(20):
        worker.get("/v1/tokens")
    entries = trail(admin)
    assert len(entries) - before <= 2
    (wrong,) = [entry for entry in entries if entry["action"] == "authenticate"]
    assert (wrong["actor"], wrong["outcome"], wrong["scope"]) == ("stranger", "unauthenticated", None)
    # Told whenever the number has doubled.
    assert 100 <= wrong["count"] <= 200
    (curious,) = [e for e in entries if e["action"] == "list_tokens" and e["outcome"] == "forbidden"]
    assert curious["actor"].startswith("first worker token (")
    assert curious["count"] == 16


@pytest.mark.parametrize(
    ("path", "status", "action"),
    [("/dashboard", 403, "dashboard"), ("/api/studies", 403, "dashboard"), ("/", 303, "page")],
)
def test_a_token_that_may_not_look_is_written_down(
    admin: httpx.Client, client_of: ClientOf, path: str, status: int, action: str
) -> None:
    before = trail(admin)[0]["id"]
    assert client_of("worker").get(path).status_code == status
    (told,) = [entry for entry in trail(admin) if entry["id"] > before and entry["action"] == action]
    assert (told["outcome"], told["scope"], told["count"]) == ("forbidden", "worker", 1)
    assert told["actor"].startswith("a worker (")


def test_a_claim_for_a_worker_of_another_token_is_written_down(
    admin: httpx.Client, client_of: ClientOf, registered: str
) -> None:
    before = trail(admin)[0]["id"]
    body = {"worker": registered, "request_id": str(uuid4())}
    assert client_of("worker").post("/v1/worker/leases", json=body).status_code == 404
    (told,) = [entry for entry in trail(admin) if entry["id"] > before and entry["action"] == "lease"]
    assert (told["outcome"], told["scope"]) == ("not-found", "worker")


def test_pages_go_from_one_to_the_next_while_lines_are_added(admin: httpx.Client) -> None:
    for number in range(7):
        admin.post("/v1/tokens", json={"name": f"page {number}", "scope": "read"})
    whole = [entry["id"] for entry in trail(admin)]
    seen: list[int] = []
    cursor: str | None = None
    while True:
        query = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        answer = admin.get("/v1/audit", params=query).json()
        seen += [entry["id"] for entry in answer["items"]]
        cursor = answer["next"]
        if cursor is None:
            break
        admin.post("/v1/login-codes")
    assert seen == whole


@pytest.mark.parametrize(
    "query", ["cursor=x", "cursor=-1", "cursor=99999999999999999999", "cursor=", "limit=0", "limit=x"]
)
def test_nonsense_is_refused(admin: httpx.Client, query: str) -> None:
    answer = admin.get(f"/v1/audit?{query}")
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/invalid-request"


def entries(store: Storage, number: int, days: float = 90, most: int = 1000) -> None:
    for _ in range(number):
        begin_entry(store, actor="a", scope=Scope.ADMIN, action="pause", object_="", address="", days=days, most=most)


def test_the_oldest_lines_make_room(store: Storage) -> None:
    entries(store, 2 * SWEEP_EVERY, most=50)
    assert 50 <= len(read_audit(store, 1000).items) <= 50 + SWEEP_EVERY
    with store.transaction() as tx:
        tx.execute("UPDATE audit SET at = now() - interval '91 days'")
    entries(store, SWEEP_EVERY)
    assert len(read_audit(store, 1000).items) <= SWEEP_EVERY


def test_what_a_dying_server_had_begun_is_there(store: Storage) -> None:
    entries(store, 1)
    assert read_audit(store).items[0].outcome == UNKNOWN


def test_a_flood_from_everywhere_is_bounded_too(store: Storage) -> None:
    refusals = Refusals(Settings.load())
    for number in range(3 * MOST_LINES):
        refusals.note(store, None, "authenticate", "unauthenticated", f"10.0.{number // 250}.{number % 250}")
    found = read_audit(store, 1000).items
    assert len(found) == MOST_LINES + 1
    assert found[0].address == SEVERAL
    assert found[0].count == MOST_LINES * 2 // 128 * 128 == 128


def test_a_refusal_that_cannot_be_written_stops_nobody(database_url: str) -> None:
    gone = Storage.connect(database_url.rpartition("/")[0] + "/nowhere", pool_size=1)
    someone = Identity("a", Scope.READ, str(uuid4()))
    Refusals(Settings.load()).note(gone, someone, "list_tokens", "forbidden", "10.0.0.1")
    gone.close()
