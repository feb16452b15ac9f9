"""How often one may ask: of real servers with low limits."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service.api.limits import network_of
from service.app import create_app
from service.settings import Settings
from tests.service.api.conftest import serving
from tests.service.api.helpers import DOTS, submission

Make = Callable[..., httpx.Client]


@pytest.fixture
def limited(tmp_path: Path, database_url: str) -> Iterator[Make]:
    """Starts a server with some limits; clients of it by name: admin, worker, or a token."""
    with contextlib.ExitStack() as stack:
        urls: dict[str, str] = {}

        def make(who: str, **limits: Any) -> httpx.Client:
            if not urls:
                settings = Settings.load(home=tmp_path, database_url=database_url, threads=6, **limits)
                urls["server"] = stack.enter_context(serving(create_app(settings)))
            file = tmp_path / f"{who}-token"
            token = file.read_text().strip() if file.exists() else who
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            client = httpx.Client(base_url=urls["server"], headers=headers, timeout=40, trust_env=False)
            return stack.enter_context(client)

        yield make


def refused(answer: httpx.Response) -> bool:
    """Whether an answer is a 429, which then says how long to wait."""
    if answer.status_code != 429:
        return False
    assert answer.json()["type"] == "/problems/too-many-requests"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    return True


def announce(client: httpx.Client, slots: int) -> str:
    name = str(uuid4())
    body = {"name": "w", "device": "cpu", "slots": slots, "datasets": [DOTS]}
    assert client.put(f"/v1/worker/workers/{name}", json=body).status_code == 200
    return name


def test_a_token_asks_so_often_and_the_others_go_on(limited: Make) -> None:
    admin = limited("admin", requests_per_minute=20)
    reader = limited(admin.post("/v1/tokens", json={"name": "r", "scope": "read"}).json()["token"])
    answers = [reader.get("/v1/experiments") for _ in range(30)]
    assert sum(refused(answer) for answer in answers) == 10
    assert answers[0].status_code == 200
    assert admin.get("/v1/experiments").status_code == 200
    assert reader.get("/healthz").status_code == 200


def test_a_fleet_with_one_token_is_not_throttled_for_its_size(limited: Make) -> None:
    worker = limited("worker", requests_per_minute=20, worker_requests_per_minute=10, claims_per_minute=0)
    names = [announce(worker, 2) for _ in range(8)]
    # Beside the requests that announced them: 12 of the token's own, and 10 for each of 16 slots.
    calls = [{"worker": name, "request_id": str(uuid4())} for name in names for _ in range(15)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: worker.post("/v1/worker/leases", json=body), calls))
    assert [answer.status_code for answer in answers] == [204] * 120
    more = [worker.post("/v1/worker/leases", json=calls[0]) for _ in range(80)]
    assert any(refused(answer) for answer in more)


def test_claims_that_bring_nothing_are_counted_by_slot(limited: Make) -> None:
    worker = limited("worker", claims_per_minute=5)
    busy, other = announce(worker, 2), announce(worker, 1)

    def claim(name: str) -> httpx.Response:
        return worker.post("/v1/worker/leases", json={"worker": name, "request_id": str(uuid4())})

    assert [claim(busy).status_code for _ in range(10)] == [204] * 10
    assert refused(claim(busy))
    assert claim(other).status_code == 204
    (told,) = [entry for entry in limited("admin").get("/v1/audit").json()["items"] if entry["action"] == "lease"]
    assert (told["outcome"], told["scope"]) == ("too-many-requests", "worker")


def test_claims_that_bring_a_task_are_not_counted(limited: Make) -> None:
    worker, admin = limited("worker", claims_per_minute=1, planner_seconds=0.1), limited("admin")
    name = announce(worker, 2)
    assert admin.post("/v1/experiments", json=submission(phases=[{"epochs": 1, "trials": 9}])).status_code == 201
    for _ in range(6):
        body = {"worker": name, "request_id": str(uuid4()), "wait_seconds": 30}
        answer = worker.post("/v1/worker/leases", json=body)
        assert answer.status_code == 200, answer.text
        lease = answer.json()
        attempt = f"/v1/worker/tasks/{lease['task']}/attempts/{lease['attempt']}"
        assert worker.post(f"{attempt}/release").status_code == 204


def test_guesses_are_throttled_and_known_tokens_go_on(limited: Make) -> None:
    admin, reader = limited("admin", guesses_per_minute=20), limited("worker")
    assert admin.get("/v1/experiments").status_code == 200
    stranger = limited("")

    def guess(number: int) -> httpx.Response:
        return stranger.get("/v1/tokens", headers={"Authorization": f"Bearer stagetune_admin_{number:043d}"})

    with ThreadPoolExecutor(6) as pool:
        guesses = list(pool.map(guess, range(60)))
    statuses = [answer.status_code for answer in guesses]
    assert set(statuses) == {401, 429}
    assert 20 <= statuses.count(401) <= 26
    assert all(refused(answer) for answer in guesses if answer.status_code == 429)
    # The address is not answered about any secret it did not know before, be it right.
    assert refused(reader.get(f"/v1/artifacts/{'a' * 64}"))
    assert admin.get("/v1/experiments").status_code == 200
    assert stranger.get("/v1/experiments").status_code == 401


def test_a_token_that_was_revoked_is_a_guess(limited: Make) -> None:
    admin = limited("admin", guesses_per_minute=3)
    made = admin.post("/v1/tokens", json={"name": "r", "scope": "read"}).json()
    reader = limited(made["token"])
    assert reader.get("/v1/experiments").status_code == 200
    admin.delete(f"/v1/tokens/{made['id']}")
    statuses = [reader.get("/v1/experiments").status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


def test_a_logout_from_no_session_is_a_guess(limited: Make) -> None:
    admin, stranger = limited("admin", guesses_per_minute=3), limited("")
    assert admin.get("/v1/experiments").status_code == 200
    answers = [
        stranger.post("/v1/logout", headers={"Cookie": f"stagetune_session={number:043d}"}) for number in range(4)
    ]
    assert [answer.status_code for answer in answers[:3]] == [204, 204, 204]
    assert refused(answers[3])
    assert stranger.post("/v1/logout").status_code == 204, "without a cookie there is nothing to look up"


def test_wrong_codes_end_in_too_many_requests(limited: Make) -> None:
    admin, stranger = limited("admin", logins_per_minute=3), limited("")
    code = admin.post("/v1/login-codes").json()["code"]
    statuses = [stranger.post("/v1/login", json={"code": "x" * 32}).status_code for _ in range(4)]
    assert statuses == [401, 401, 401, 429]
    assert refused(stranger.post("/v1/login", json={"code": code}))


def test_so_many_experiments_are_open_at_once(limited: Make) -> None:
    admin = limited("admin", open_experiments=2)
    announce(limited("worker"), 1)
    first, _ = (admin.post("/v1/experiments", json=submission(name=name)) for name in ("a", "b"))
    key = {"Idempotency-Key": "again"}
    assert admin.post(f"/v1/experiments/{first.json()['id']}/pause").status_code == 200
    answer = admin.post("/v1/experiments", json=submission(name="c"), headers=key)
    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/too-many-experiments"
    admin.post(f"/v1/experiments/{first.json()['id']}/cancel")
    third = admin.post("/v1/experiments", json=submission(name="c"), headers=key)
    assert third.status_code == 201
    # The same submission again starts nothing, so nothing stands in its way.
    assert admin.post("/v1/experiments", json=submission(name="c"), headers=key).json()["id"] == third.json()["id"]


def test_so_many_event_streams_of_one_token_are_open_at_once(limited: Make) -> None:
    admin = limited("admin", open_streams=2)
    announce(limited("worker"), 1)
    path = f"/v1/experiments/{admin.post('/v1/experiments', json=submission()).json()['id']}/events"
    reader = limited(admin.post("/v1/tokens", json={"name": "r", "scope": "read"}).json()["token"])

    def one_more() -> bool:
        with reader.stream("GET", path) as answer:
            if answer.status_code == 200:
                return True
            answer.read()
            assert refused(answer)
            return False

    with reader.stream("GET", path) as first:
        assert first.status_code == 200
        with reader.stream("GET", path) as second:
            assert second.status_code == 200
            assert not one_more()
            # Others have streams of their own, and whoever rather asks again does so.
            with admin.stream("GET", path) as other:
                assert other.status_code == 200
            assert reader.get(path, params={"format": "json"}).status_code == 200
        deadline = time.monotonic() + 60
        while not one_more():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    (told,) = [entry for entry in admin.get("/v1/audit").json()["items"] if entry["action"] == "follow_events"]
    assert (told["outcome"], told["scope"]) == ("too-many-requests", "read")


def test_a_stream_of_nothing_does_not_count(limited: Make) -> None:
    admin = limited("admin", open_streams=1)
    answers = [admin.get(f"/v1/experiments/{uuid4()}/events") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [404] * 3


def test_of_an_ipv6_address_its_network_counts() -> None:
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::1") != network_of("2001:db8:1:3::1")
    assert network_of("10.0.0.1") != network_of("10.0.0.2")
    assert network_of("a token") == "a token"
