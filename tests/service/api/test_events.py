import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.service.api.helpers import submission
from tests.service.api.test_access import login

NOWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def experiment(admin: httpx.Client, registered: str) -> Iterator[str]:
    assert registered
    made = str(admin.post("/v1/experiments", json=submission(reuse=False)).json()["id"])
    yield f"/v1/experiments/{made}"
    admin.post(f"/v1/experiments/{made}/cancel")


def follow(client: httpx.Client, path: str, **headers: str) -> list[dict[str, Any]]:
    """The events of a stream, until it ends."""
    events: list[dict[str, Any]] = []
    with client.stream("GET", f"{path}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        current: dict[str, Any] = {}
        for line in answer.iter_lines():
            if not line:
                if current:
                    events.append(current)
                current = {}
            elif not line.startswith((":", "retry")):
                name, _, value = line.partition(": ")
                current[name] = value
    return events


def test_a_stream_tells_what_happened_and_ends_with_the_experiment(
    admin: httpx.Client, server: Any, experiment: str
) -> None:
    admin.post(f"{experiment}/pause")
    stopping = threading.Timer(0.5, lambda: httpx.post(f"{server.url}{experiment}/cancel", headers=admin.headers))
    stopping.start()
    events = follow(admin, experiment)
    stopping.join()
    kinds = [event["event"] for event in events]
    assert kinds[0] == "submitted"
    assert kinds[-2:] == ["cancelled", "end"]
    assert kinds.index("paused") < kinds.index("cancelled")
    ids = [int(event["id"]) for event in events[:-1]]
    assert ids == sorted(set(ids))
    assert json.loads(events[0]["data"])["id"] == ids[0]


def test_a_stream_goes_on_where_it_was_cut(admin: httpx.Client, experiment: str) -> None:
    admin.post(f"{experiment}/cancel")
    everything = follow(admin, experiment)
    rest = follow(admin, experiment, **{"Last-Event-ID": everything[0]["id"]})
    assert rest == everything[1:]


def test_polling_gives_the_same_as_json(admin: httpx.Client, experiment: str) -> None:
    admin.post(f"{experiment}/pause")
    events = admin.get(f"{experiment}/events", params={"format": "json"}).json()
    assert [event["kind"] for event in events][:1] == ["submitted"]
    later = admin.get(f"{experiment}/events", params={"format": "json", "after": events[0]["id"]}).json()
    assert [event["id"] for event in later[: len(events) - 1]] == [event["id"] for event in events[1:]]


@pytest.mark.parametrize("last", ["x", "-1", "9" * 30, "\xb2"])
def test_a_nonsense_last_event_id_starts_from_the_beginning_or_the_end(
    admin: httpx.Client, experiment: str, last: str
) -> None:
    admin.post(f"{experiment}/cancel")
    with admin.stream("GET", f"{experiment}/events", headers=[(b"Last-Event-ID", last.encode("latin-1"))]) as answer:
        assert answer.status_code == 200
        answer.read()


@pytest.mark.parametrize("kind", ["token", "session"])
def test_a_stream_ends_when_what_let_it_in_does(
    admin: httpx.Client, connect: Any, experiment: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("service.api.events.HEARTBEAT_SECONDS", 0.2)
    scope = "read" if kind == "token" else "admin"
    made = admin.post("/v1/tokens", json={"name": "ends", "scope": scope}).json()
    reader = connect(made["token"]) if kind == "token" else login(connect(made["token"]), connect)
    with reader.stream("GET", f"{experiment}/events") as answer:
        lines = answer.iter_lines()
        # It lives as long as the token does, and goes on beyond a keep-alive.
        assert any("still here" in line for line in lines)
        assert admin.delete(f"/v1/tokens/{made['id']}").status_code == 204
        assert "event: end" not in list(lines)
    assert reader.get(f"{experiment}/events").status_code == 401


def test_an_experiment_that_does_not_exist_has_no_stream(admin: httpx.Client) -> None:
    assert admin.get(f"/v1/experiments/{NOWHERE}/events").status_code == 404
