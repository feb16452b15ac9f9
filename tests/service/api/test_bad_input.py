"""Whatever a client sends, the answer is a problem that says what is wrong, and never a server error."""

# ruff: noqa: E501 - tables of inputs

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.problems import Problem
from service.api.problems import STATUS
from tests.service.api.conftest import Running
from tests.service.api.helpers import evaluated, hold_task, submission, trained

NOWHERE = "00000000-0000-4000-8000-000000000000"
ATTEMPT = f"/v1/worker/tasks/{NOWHERE}/attempts/1"
LEASE = {"worker": NOWHERE, "request_id": NOWHERE, "wait_seconds": 0}
REGISTRATION: dict[str, Any] = {"name": "w", "device": "cpu"}


def put(path: str, value: Any) -> dict[str, Any]:
    """A submission with the value at a dotted path."""
    document = submission()
    place: Any = document
    *way, last = path.split(".")
    for key in way:
        place = place.setdefault(key, {}) if isinstance(place, dict) else place[int(key)]
    if isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return document


SUBMISSIONS: list[Any] = [
    {}, [], 1, "text", None,
    {"name": "a"},
    put("name", ""), put("name", " "), put("name", "a" * 201), put("name", "a\x00b"), put("name", "a\nb"), put("name", 7),
    put("name", None), put("name", ["a"]), put("name", "\ud800"),
    put("dataset", "dots"), put("dataset", {}), put("dataset.name", "no-such-data"), put("dataset.name", "../../etc"),
    put("dataset.train", 0), put("dataset.train", -1), put("dataset.train", 1.5), put("dataset.train", 2**31),
    put("dataset.train", 10**30), put("dataset.train", True), put("dataset.train", "many"), put("dataset.train", 1e400),
    put("dataset.train", 1437), put("dataset.validation", 1437), put("dataset.preprocessing", "zoom"),
    put("architectures", {}), put("architectures", []), put("architectures", {"A": []}), put("architectures", {"A": [""]}),
    put("architectures", {"": ["Conv-3-4"]}), put("architectures", {"A": ["Conv-0-4"]}),
    put("architectures", {"A": ["Conv-3-0"]}), put("architectures", {"A": ["Pool-9"]}),
    put("architectures", {"A": ["Pool-2 Pool-2 Pool-2 Pool-2"]}), put("architectures", {"A": ["Conv-3"]}),
    put("architectures", {"A": ["Dense-10"]}), put("architectures", {"A": ["Conv-3-99999999999999999999"]}),
    put("architectures", {"A": ["Conv-3-4"], "a": ["Conv-3-4"]}), put("architectures", {"A": "Conv-3-4"}),
    put("architectures", {"A": ["Conv-3-4 " * 2000]}), put("architectures", {"A": [["Conv-3-4"]]}),
    put("architectures", {"A\x00": ["Conv-3-4"]}), put("architectures", {"A": ["Conv-3-4\x00"]}),
    put("variants", []), put("variants", [{"architecture": "CNN 9", "learning": "total"}]),
    put("variants", [{"architecture": "CNN 2", "learning": "both"}]), put("variants", [{"learning": "total"}]),
    put("phases", []), put("phases.0.epochs", 0), put("phases.0.epochs", 10_001), put("phases.0.trials", -3),
    put("phases", [{"epochs": 1, "trials": 1}] * 101),
    put("search.sampler", "annealing"), put("search.space", {"learning_rate": {"low": 0, "high": 1}}),
    put("search.space", {"learning_rate": {"low": 1, "high": 1}}), put("search.space", {"depth": {"low": 1, "high": 2}}),
    put("search.space", {"learning_rate": {"low": -1, "high": 1}}), put("search.space", {"learning_rate": {"low": 1}}),
    put("search.enqueue", [{"learning_rate": 5.0, "regularization": 1e-3}]), put("search.enqueue", [{}]),
    put("search.enqueue", [{"learning_rate": 1e-3, "regularization": 1e-3}] * 2), put("search.enqueue", {"a": 1}),
    put("search.initial", {"learning_rate": 0, "regularization": 1}),
    put("phases", [{"epochs": 1, "trials": 2, "start": "initial"}]), put("search.seeds", "each"),
    put("phases", [{"epochs": 1, "trials": 1}]) | {"search": {"confirm_seeds": 3}},
    put("training.batch_size", 0), put("training.batch_size", 10**6), put("training.momentum", 1.0),
    put("training.momentum", -0.1), put("training.optimizer", "adam"), put("training.precision", "float8"), put("training.schedule", "step"),
    put("seeds", []), put("seeds", [-1]), put("seeds", [0, 0]), put("seeds", [2**31]), put("seeds", None), put("seeds", list(range(101))),
    put("limits.memory", "8"), put("limits.memory", -1), put("limits.time", "forever"), put("limits.memory", "9" * 400 + "GiB"),
    put("priority", 1001), put("priority", 0.5), put("reuse", "perhaps"), put("extra", 1), put("training.extra", 1),
    {"a" * 100_000: 1},
]  # fmt: skip


def check(answer: httpx.Response) -> Problem:
    """A problem with a status of its type, readable and without internals."""
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = Problem.model_validate(answer.json())
    code = problem.type.removeprefix("/problems/")
    assert code in STATUS
    assert problem.status == answer.status_code
    assert problem.detail
    assert "Traceback" not in answer.text
    assert len(answer.text) < 20_000
    return problem


@pytest.mark.parametrize("document", SUBMISSIONS, ids=lambda document: json.dumps(document)[-60:])
@pytest.mark.parametrize("path", ["/v1/plans", "/v1/experiments"])
def test_a_submission_that_cannot_run_is_told_why(
    admin: httpx.Client, registered: str, path: str, document: Any
) -> None:
    assert registered
    problem = check(admin.post(path, content=json.dumps(document), headers={"Content-Type": "application/json"}))
    if problem.type in ("/problems/invalid-submission", "/problems/invalid-request"):
        assert problem.faults
        assert all(fault.path and fault.message for fault in problem.faults)


BODIES = [
    ("POST", "/v1/experiments", b"", {"Content-Type": "application/json"}),
    ("POST", "/v1/experiments", b"{}", {}),
    ("POST", "/v1/experiments", b"{}", {"Content-Type": "text/html"}),
    ("POST", "/v1/experiments", b"\x1f\x8b\x08\x00", {"Content-Type": "application/json", "Content-Encoding": "gzip"}),
    ("POST", "/v1/experiments", b"\xff\xfe", {"Content-Type": "application/yaml"}),
    ("POST", "/v1/experiments", b"a" * (1024**2 + 1), {"Content-Type": "application/yaml"}),
    ("POST", "/v1/experiments", b"[" * 500_000, {"Content-Type": "application/json"}),
    ("POST", "/v1/experiments", b"{" * 500_000, {"Content-Type": "application/yaml"}),
    ("POST", "/v1/experiments", b"a: &a [*a]", {"Content-Type": "application/yaml"}),
    ("POST", "/v1/experiments", json.dumps(submission()).encode(), {"Content-Type": "application/json", "Idempotency-Key": ""}),
    ("POST", "/v1/experiments", json.dumps(submission()).encode(), {"Content-Type": "application/json", "Idempotency-Key": "k" * 201}),
    ("POST", "/v1/experiments", b"--x\r\n" + b"a: b\r\n" * 10_000 + b"\r\n\r\n--x--", {"Content-Type": "multipart/form-data; boundary=x"}),
    ("POST", "/v1/tokens", b"{", {"Content-Type": "application/json"}),
    ("POST", "/v1/tokens", b"[" * 200_000, {"Content-Type": "application/json"}),
    ("POST", "/v1/tokens", b'{"name": "a", "scope": "root"}', {"Content-Type": "application/json"}),
    ("POST", "/v1/tokens", b'{"name": "a\\u0000", "scope": "read"}', {"Content-Type": "application/json"}),
    ("POST", "/v1/tokens", b'{"name": "\\ud800", "scope": "read"}', {"Content-Type": "application/json"}),
    ("POST", "/v1/tokens", b'{"name": "a", "scope": "read", "days": 99999999999999999999}', {"Content-Type": "application/json"}),
    ("POST", "/v1/tokens", b'{"name": "a", "scope": "read", "days": ' + b"9" * 5000 + b"}", {"Content-Type": "application/json"}),
    ("POST", "/v1/tokens", b'{"name": "a", "scope": "read", "admin": true}', {"Content-Type": "application/json"}),
    ("POST", "/v1/tokens", b"name=a&scope=read", {"Content-Type": "application/x-www-form-urlencoded"}),
    ("POST", "/v1/login", b'{"code": "\\u0000"}', {"Content-Type": "application/json"}),
    ("POST", "/v1/login", b'{"code": "' + b"A" * 5000 + b'"}', {"Content-Type": "application/json"}),
    ("GET", "/v1/experiments?limit=0", b"", {}),
    ("GET", "/v1/experiments?limit=201", b"", {}),
    ("GET", "/v1/experiments?limit=1e9", b"", {}),
    ("GET", "/v1/experiments?limit=%00", b"", {}),
    ("GET", "/v1/experiments?cursor=nonsense", b"", {}),
    ("GET", "/v1/experiments?cursor=%ff%fe", b"", {}),
    ("GET", "/v1/experiments?cursor=" + "A" * 300, b"", {}),
    ("GET", "/v1/experiments?cursor=OTk5OTktMDEtMDEgYQ==", b"", {}),
    ("GET", "/v1/experiments?state=sleeping", b"", {}),
    ("GET", "/v1/experiments/1", b"", {}),
    ("GET", "/v1/experiments/%00", b"", {}),
    ("GET", f"/v1/experiments/{NOWHERE}", b"", {}),
    ("GET", f"/v1/experiments/{NOWHERE}/", b"", {}),
    ("GET", f"/v1/experiments/{NOWHERE}/report", b"", {}),
    ("POST", f"/v1/experiments/{NOWHERE}/resume", b"", {}),
    ("GET", f"/v1/experiments/{NOWHERE}/events?after=-1", b"", {}),
    ("GET", f"/v1/experiments/{NOWHERE}/events?after=9223372036854775808", b"", {}),
    ("GET", f"/v1/experiments/{NOWHERE}/events?format=xml", b"", {}),
    ("GET", f"/v1/searches/{NOWHERE}", b"", {}),
    ("GET", f"/v1/searches/{NOWHERE}/trials", b"", {}),
    ("GET", "/v1/presets/..%2f..%2fpyproject.toml", b"", {}),
    ("GET", "/v1/presets/%00", b"", {}),
    ("GET", "/v1/nothing", b"", {}),
    ("DELETE", "/v1/experiments", b"", {}),
    ("PATCH", f"/v1/experiments/{NOWHERE}", b"", {}),
    ("TRACE", "/v1/experiments", b"", {}),
    ("DELETE", "/v1/tokens/1", b"", {}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "headers"), BODIES, ids=lambda part: str(part)[:50])
def test_a_request_without_the_published_form_is_told_why(
    admin: httpx.Client, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    check(admin.request(method, path, content=body, headers=headers))


def changed(value: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**value, **changes}


def outcome(**changes: Any) -> dict[str, Any]:
    return {"result": changed(trained("a" * 64)["result"], **changes)}


REGISTRATIONS: list[tuple[str, str, Any]] = [
    ("PUT", "/v1/worker/workers/1", REGISTRATION),
    ("PUT", f"/v1/worker/workers/{NOWHERE}", {}),
    ("PUT", f"/v1/worker/workers/{NOWHERE}", changed(REGISTRATION, slots=0)),
    ("PUT", f"/v1/worker/workers/{NOWHERE}", changed(REGISTRATION, slots=10**12)),
    ("PUT", f"/v1/worker/workers/{NOWHERE}", changed(REGISTRATION, name="a\x00")),
    ("PUT", f"/v1/worker/workers/{NOWHERE}", changed(REGISTRATION, info={"host": 1})),
    ("PUT", f"/v1/worker/workers/{NOWHERE}", changed(REGISTRATION, info={"host": "a\x00"})),
    ("PUT", f"/v1/worker/workers/{NOWHERE}", changed(REGISTRATION, datasets=[{"name": "x"}])),
    ("PUT", f"/v1/worker/workers/{NOWHERE}", changed(REGISTRATION, datasets=[{}] * 1001)),
    ("POST", "/v1/worker/leases", changed(LEASE, wait_seconds=31)),
    ("POST", "/v1/worker/leases", changed(LEASE, wait_seconds=-1)),
    ("POST", "/v1/worker/leases", changed(LEASE, request_id="1")),
    ("POST", "/v1/worker/leases", changed(LEASE, attempts=1)),
    ("POST", f"/v1/worker/tasks/{NOWHERE}/attempts/0/heartbeat", {}),
    ("POST", f"/v1/worker/tasks/{NOWHERE}/attempts/-1/heartbeat", {}),
    ("POST", f"/v1/worker/tasks/{NOWHERE}/attempts/2147483648/heartbeat", {}),
]
# What is well-formed, and nobody's.
UNKNOWN: list[tuple[str, str, Any]] = [
    ("POST", "/v1/worker/leases", LEASE),
    ("POST", f"{ATTEMPT}/heartbeat", {}),
    ("PUT", f"{ATTEMPT}/result", trained("a" * 64)),
    ("PUT", f"{ATTEMPT}/snapshot", {"sha256": "a" * 64, "fraction": 0.5}),
    ("PUT", f"{ATTEMPT}/failure", {"reason": "crashed", "message": "late"}),
    ("POST", f"{ATTEMPT}/release", None),
]
# Of an attempt that its worker holds: what is refused is refused for what it says.
OF_AN_ATTEMPT: list[tuple[str, str, Any]] = [
    ("POST", "heartbeat", []),
    ("POST", "heartbeat", {"fraction": 1.1}),
    ("POST", "heartbeat", {"extra": 1}),
    ("POST", "heartbeat", {"reports": [{"step": -1, "epoch": 0, "validation_accuracy": 0}]}),
    ("POST", "heartbeat", {"reports": [{"step": 2**60, "epoch": 0, "validation_accuracy": 0}]}),
    ("POST", "heartbeat", {"reports": [{"step": 1, "epoch": 0, "validation_accuracy": 1.5}]}),
    ("POST", "heartbeat", {"reports": [{"step": 1, "epoch": 0, "validation_accuracy": float("nan")}]}),
    ("POST", "heartbeat", {"reports": [{"step": 1, "epoch": float("inf"), "validation_accuracy": 0}]}),
    ("PUT", "result", {}),
    ("PUT", "result", trained("a" * 64)),
    ("PUT", "result", outcome(outcome="great")),
    ("PUT", "result", outcome(validation_accuracy=1.5)),
    ("PUT", "result", outcome(validation_accuracy=float("nan"))),
    ("PUT", "result", outcome(training_seconds=-1)),
    ("PUT", "result", outcome(total_seconds=float("inf"))),
    ("PUT", "result", outcome(checkpoint="../../etc/passwd")),
    ("PUT", "result", outcome(checkpoint=None)),
    ("PUT", "result", outcome(memory={"peak_bytes": 2**70})),
    ("PUT", "result", outcome(memory=changed(trained("a" * 64)["result"]["memory"], peak_bytes=2**70))),
    ("PUT", "result", outcome(curve=[{}] * 10)),
    ("PUT", "result", outcome(provenance={"a": "\x00" * 600})),
    ("PUT", "result", outcome(extra=1)),
    ("PUT", "result", evaluated()),
    ("PUT", "snapshot", {"sha256": "a" * 64, "fraction": 0.5}),
    ("PUT", "snapshot", {"sha256": "A" * 64, "fraction": 0.5}),
    ("PUT", "snapshot", {"sha256": "a" * 64, "fraction": 1.5}),
    ("PUT", "snapshot", {"sha256": "a" * 64, "fraction": 0.5, "extra": 1}),
    ("PUT", "failure", {"reason": "bored", "message": ""}),
    ("PUT", "failure", {"reason": "lost", "message": "a finding of the server"}),
    ("PUT", "failure", {"reason": "crashed", "message": "a\x00"}),
    ("PUT", "failure", {"reason": "crashed", "message": "a" * 2_001}),
    ("PUT", "failure", {"reason": "crashed", "message": "a", "log": "x" * 64_001}),
    ("PUT", "failure", {"reason": "crashed", "message": "a", "seconds": -1}),
    ("PUT", "failure", {"reason": "crashed", "message": "a", "extra": 1}),
]


def sent(worker: httpx.Client, method: str, path: str, body: Any) -> Problem:
    """What is answered to a document, as Python writes it: NaN and infinities included."""
    return check(worker.request(method, path, content=json.dumps(body), headers={"Content-Type": "application/json"}))


@pytest.mark.parametrize(("method", "path", "body"), REGISTRATIONS, ids=lambda part: str(part)[:70])
def test_a_worker_that_errs_is_told_why(worker: httpx.Client, method: str, path: str, body: Any) -> None:
    assert sent(worker, method, path, body).type == "/problems/invalid-request"


@pytest.mark.parametrize(("method", "path", "body"), UNKNOWN, ids=lambda part: str(part)[:70])
def test_workers_and_attempts_that_nobody_has_are_unknown(
    worker: httpx.Client, method: str, path: str, body: Any
) -> None:
    assert sent(worker, method, path, body).type == "/problems/not-found"


@pytest.fixture(scope="module")
def attempt(server: Running) -> Iterator[str]:
    """The address of one attempt that its worker holds through all of these tests."""
    with client(server, server.settings.admin_token_file) as admin:
        with client(server, server.settings.worker_token_file) as worker:
            made = hold_task(admin, worker)
            yield f"/v1/worker/tasks/{made['task']}/attempts/{made['attempt']}"
            worker.delete(f"/v1/worker/workers/{made['worker']}")
        admin.post(f"/v1/experiments/{made['experiment']}/cancel")


def client(server: Running, token: Path) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token.read_text().strip()}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=40, trust_env=False)


@pytest.mark.parametrize(("method", "what", "body"), OF_AN_ATTEMPT, ids=lambda part: str(part)[:70])
def test_a_worker_that_errs_about_its_task_is_told_why_and_keeps_it(
    worker: httpx.Client, attempt: str, method: str, what: str, body: Any
) -> None:
    told = "/problems/invalid-request", "/problems/invalid-artifact"
    assert sent(worker, method, f"{attempt}/{what}", body).type in told
    beat = worker.post(f"{attempt}/heartbeat", json={})
    assert (beat.status_code, beat.json()["command"]) == (200, "continue")


def test_a_chunked_body_is_cut_at_the_limit(admin: httpx.Client) -> None:
    def chunks() -> Any:
        for _ in range(2000):
            yield b"#" * 1024

    try:
        answer = admin.post("/v1/experiments", content=chunks(), headers={"Content-Type": "application/yaml"})
    except httpx.TransportError:
        return  # closed while we still sent
    assert check(answer).type == "/problems/body-too-large"


def test_an_unknown_address_tells_a_stranger_nothing(
    client_of: Callable[[str], httpx.Client], anonymous: httpx.Client
) -> None:
    assert check(anonymous.get("/v1/nothing")).type == "/problems/not-found"
    assert check(client_of("read").delete("/v1/experiments")).type == "/problems/method-not-allowed"


def test_an_unknown_data_set_is_a_fault_of_its_field(admin: httpx.Client) -> None:
    problem = check(admin.post("/v1/experiments", json=put("dataset.name", "no-such-data")))
    [fault] = problem.faults
    assert (problem.type, fault.path) == ("/problems/unknown-dataset", "dataset.name")
    assert problem.detail == f"{fault.path}: {fault.message}"
    assert "stagetune data add" in fault.message
