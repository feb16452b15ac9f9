"""What a call does when the line or the server fails it."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from contract.tasks import Heartbeat, LeaseRequest, Measurement, TaskFailure, TaskResult, WorkerRegistration
from tests.http_server import LOST, NO_CONTENT, TOKEN, Answer, FakeServer, problem
from tests.worker.conftest import LEASE_LOST, UNAVAILABLE, ProtocolServer, make_lease, training_outcome
from worker.client import LeaseLost, ProtocolError, ServerClient, Unreachable

WORKER = uuid4()
LEASE = make_lease()
RESULT = TaskResult(result=training_outcome(checkpoint="c" * 64))
CONTENT = bytes(range(256)) * 10_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
CUT = Answer(LEASE, sent=0.5)
GARBLED = Answer(LEASE, headers={"Content_Encoding": "gzip"})

CALLS: dict[str, Callable[[ServerClient], Any]] = {
    "register": lambda client: client.register(WORKER, WorkerRegistration(name="gpu", device="cpu")),
    "lease": lambda client: client.lease(LeaseRequest(worker=WORKER, request_id=uuid4())),
    "result": lambda client: client.result(LEASE, RESULT),
    "failure": lambda client: client.failure(LEASE, TaskFailure(reason="crashed", message="no")),
    "release": lambda client: client.release(LEASE),
    "depart": lambda client: client.depart(WORKER),
    "upload": lambda client: client.upload(CONTENT, LEASE),
}


@pytest.mark.parametrize("trouble", [LOST, UNAVAILABLE, CUT, GARBLED], ids=["lost", "unavailable", "cut", "garbled"])
@pytest.mark.parametrize("verb", CALLS)
def test_a_call_is_repeated_word_for_word_on_a_fresh_connection(
    server: ProtocolServer, client: ServerClient, verb: str, trouble: Answer
) -> None:
    server.next(verb, trouble, trouble)

    CALLS[verb](client)

    calls = server.to(verb)
    assert len(calls) == 3
    assert len({call.peer for call in calls}) == 3
    assert len({(call.path, call.body) for call in calls}) == 1


def test_calls_in_peace_share_a_connection(server: ProtocolServer, client: ServerClient) -> None:
    for call in CALLS.values():
        call(client)

    assert len({call.peer for call in server.calls}) == 1


@pytest.mark.parametrize("verb", CALLS)
def test_a_server_out_of_contact_is_unreachable_in_the_end(
    server: ProtocolServer, client: ServerClient, verb: str
) -> None:
    server.always(verb, UNAVAILABLE)

    with pytest.raises(Unreachable, match=f"no contact with {server.url}: HTTP 503"):
        CALLS[verb](client)


def test_patience_is_in_seconds(server: ProtocolServer) -> None:
    server.always("register", LOST)
    client = ServerClient(server.url, TOKEN, patience=0.3)

    with pytest.raises(Unreachable):
        CALLS["register"](client)

    assert len(server.calls) >= 2
    client.close()


def test_heartbeats_are_tried_once(server: ProtocolServer, client: ServerClient) -> None:
    server.always("beat", UNAVAILABLE)

    with pytest.raises(Unreachable):
        client.heartbeat(LEASE, Heartbeat())

    assert len(server.calls) == 1


def test_a_full_server_is_waited_for(server: ProtocolServer, client: ServerClient) -> None:
    server.next("upload", problem(507, "storage-full", "no space left"))

    assert client.upload(CONTENT, LEASE) == DIGEST


def test_a_server_that_says_when_to_come_back_is_not_asked_before(server: ProtocolServer) -> None:
    client = ServerClient(server.url, TOKEN)
    server.next("result", problem(429, "too-many-requests", "wait", Retry_After="1"))
    began = time.monotonic()

    client.result(LEASE, RESULT)

    assert time.monotonic() - began >= 1
    assert len(server.to("result")) == 2
    client.close()


def test_nobody_waits_for_longer_than_the_patience(server: ProtocolServer) -> None:
    client = ServerClient(server.url, TOKEN, patience=0.1)
    server.always("result", problem(503, "database-unavailable", "wait", Retry_After="3600"))

    with pytest.raises(Unreachable):
        client.result(LEASE, RESULT)
    client.close()


@pytest.mark.parametrize("verb", ["result", "failure", "release"])
def test_a_lost_lease_is_told_apart(server: ProtocolServer, client: ServerClient, verb: str) -> None:
    server.always(verb, LEASE_LOST)

    with pytest.raises(LeaseLost, match="another attempt has the task"):
        CALLS[verb](client)

    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("answer", "code", "status"),
    [
        (problem(401, "unauthenticated", "unknown token"), "unauthenticated", 401),
        (problem(404, "not-found", "no such worker"), "not-found", 404),
        (problem(409, "conflict", "the lease has ended"), "conflict", 409),
        (problem(422, "result-conflict", "another result"), "result-conflict", 422),
        (Answer(b"<html>Not here</html>", 404), "internal-error", 404),
    ],
)
def test_a_refusal_is_final_and_carries_its_code(
    server: ProtocolServer, client: ServerClient, answer: Answer, code: str, status: int
) -> None:
    server.always("result", answer)

    with pytest.raises(ProtocolError) as refusal:
        client.result(LEASE, RESULT)

    assert not isinstance(refusal.value, LeaseLost)
    assert (refusal.value.code, refusal.value.status) == (code, status)
    assert len(server.calls) == 1


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"{}", LEASE.model_copy(update={"kind": "polish"})])
def test_an_answer_that_is_not_understood_is_a_refusal(
    server: ProtocolServer, client: ServerClient, body: object
) -> None:
    server.always("lease", Answer(body))

    with pytest.raises(ProtocolError, match="not understood"):
        CALLS["lease"](client)


def test_a_lease_arrives_as_it_was_sent_and_none_without_one(server: ProtocolServer, client: ServerClient) -> None:
    server.next("lease", Answer(LEASE), NO_CONTENT)

    assert CALLS["lease"](client) == LEASE
    assert CALLS["lease"](client) is None


def test_reports_travel_with_the_heartbeat(server: ProtocolServer, client: ServerClient) -> None:
    server.command = "pause"
    sent = Heartbeat(reports=[Measurement(step=30, epoch=1.0, validation_accuracy=0.5)], fraction=0.5)

    assert client.heartbeat(LEASE, sent).command == "pause"

    (call,) = server.calls
    assert call.path == f"/v1/worker/tasks/{LEASE.task}/attempts/{LEASE.attempt}/heartbeat"
    assert Heartbeat.model_validate_json(call.body) == sent


def test_an_upload_is_named_by_its_content(server: ProtocolServer, client: ServerClient) -> None:
    assert client.upload(CONTENT, LEASE) == DIGEST

    assert server.artifacts == {DIGEST: CONTENT}


def test_a_download_appears_whole_or_not_at_all(server: ProtocolServer, client: ServerClient, tmp_path: Path) -> None:
    server.artifacts[DIGEST] = CONTENT
    trouble = [Answer(CONTENT, sent=0.5), LOST]
    server.next("download", *trouble)

    client.download(DIGEST, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [tmp_path / "target"]


def test_a_damaged_download_is_repeated(server: ProtocolServer, client: ServerClient, tmp_path: Path) -> None:
    server.artifacts[DIGEST] = CONTENT
    server.next("download", Answer(CONTENT[:-1] + b"x"))

    client.download(DIGEST, tmp_path / "target")

    assert (tmp_path / "target").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(CONTENT[:-1]), ProtocolError),
        (Answer(CONTENT, sent=0.9), Unreachable),
        (problem(404, "not-found", "no such artifact"), ProtocolError),
    ],
)
def test_a_download_that_fails_leaves_nothing(
    server: ProtocolServer, client: ServerClient, tmp_path: Path, answer: Answer, error: type[Exception]
) -> None:
    server.always("download", answer)

    with pytest.raises(error):
        client.download(DIGEST, tmp_path / "target")

    assert list(tmp_path.iterdir()) == []


def test_twins_do_not_cut_each_other_off(server: ProtocolServer, client: ServerClient) -> None:
    twin = client.twin()
    asked, beaten = threading.Event(), threading.Event()

    def long_poll() -> None:
        asked.set()
        beaten.wait(10)

    server.hooks["lease"] = long_poll
    server.next("lease", Answer(LEASE))
    server.always("beat", LOST)
    found = []
    waiting = threading.Thread(target=lambda: found.append(CALLS["lease"](client)))
    waiting.start()
    assert asked.wait(10)

    with pytest.raises(Unreachable):
        twin.heartbeat(LEASE, Heartbeat())
    beaten.set()
    waiting.join(10)
    twin.close()

    assert found == [LEASE]
    assert len(server.to("lease")) == 1


@pytest.mark.parametrize("answer", [LOST, UNAVAILABLE, CUT, problem(401, "unauthenticated", "no"), Answer(b"{}")])
def test_the_token_shows_nowhere(
    server: ProtocolServer, client: ServerClient, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.always("result", answer)

    with pytest.raises((Unreachable, ProtocolError)) as raised:
        client.result(LEASE, RESULT)

    assert server.calls[0].headers["authorization"] == f"Bearer {TOKEN}"
    error: BaseException | None = raised.value
    while error is not None:
        assert TOKEN not in f"{error!r} {error}"
        error = error.__cause__ or error.__context__
    said = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    assert not [line for line in said if TOKEN in line]
    assert TOKEN not in repr(client)


@pytest.mark.parametrize("token", ["", "two words", "two\nlines", "geh\u00e4im", " secret"])
def test_what_is_no_token_is_refused_unquoted(token: str) -> None:
    with pytest.raises(ValueError, match="the token is not one word") as refusal:
        ServerClient("http://127.0.0.1:1", token)

    assert not token or token not in str(refusal.value)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://[::1", "http://a:b:c"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no URL"):
        ServerClient(url, TOKEN)


@pytest.mark.parametrize("verb", CALLS)
def test_a_redirect_to_another_server_is_not_followed(
    server: ProtocolServer, client: ServerClient, verb: str, tmp_path: Path
) -> None:
    other = FakeServer()
    try:
        away = Answer(status=307, headers={"Location": f"{other.url}/v1/elsewhere"})
        server.next(verb, away)
        with pytest.raises(ProtocolError):
            CALLS[verb](client)
        server.next("download", away)
        with pytest.raises(ProtocolError):
            client.download(DIGEST, tmp_path / "artifact")
        assert other.calls == []
        assert list(tmp_path.iterdir()) == []
    finally:
        other.close()
