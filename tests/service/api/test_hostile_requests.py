"""Requests made to surprise a parser, against every route that reads a body; afterwards the server is as before."""

import json
from typing import Any

import httpx
import pytest

from contract.problems import Problem
from service.api.access import MAX_LOGIN_BYTES
from service.api.documents import MAX_DEPTH, MAX_KEYS, MAX_TEXT
from service.api.problems import STATUS
from tests.invariants import settled_violations
from tests.service.api.conftest import Running
from tests.service.api.helpers import DOTS, checkpoint, fence, stored, submission, trained

NOWHERE = "00000000-0000-4000-8000-000000000000"
ATTEMPT = "/v1/worker/tasks/{task}/attempts/{attempt}"
JSON = {"Content-Type": "application/json"}
# Routes with a body that each would take, were it not for what is done to it.
GOOD: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/experiments", submission(dataset={"name": "digits"})),
    ("POST", "/v1/tokens", {"name": "a", "scope": "read"}),
    ("POST", "/v1/login", {"code": "A" * 43}),
    ("PUT", f"/v1/worker/workers/{NOWHERE}", {"name": "w", "device": "cpu", "datasets": [DOTS]}),
    ("POST", "/v1/worker/leases", {"worker": NOWHERE, "request_id": NOWHERE, "wait_seconds": 0}),
    ("POST", ATTEMPT + "/heartbeat", {"fraction": 0.5}),
    ("PUT", ATTEMPT + "/result", trained("a" * 64)),
    ("PUT", ATTEMPT + "/failure", {"reason": "crashed", "message": "a"}),
    ("POST", f"/v1/experiments/{NOWHERE}/embeddings", {"architecture": "CNN 2", "learning": "total"}),
]


def added(body: bytes, text: bytes) -> bytes:
    """A JSON object with one more member, before the others."""
    return b"{" + text + b", " + body[1:]


DEEP = b"[" * (MAX_DEPTH + 5) + b"]" * (MAX_DEPTH + 5)
KEYS = json.dumps({str(number): 0 for number in range(MAX_KEYS + 1)}).encode()
# What is done to a good body, and the problems that may answer it.
BODIES: dict[str, Any] = {
    "empty": lambda _: b"",
    "blank": lambda _: b" \n ",
    "null": lambda _: b"null",
    "a list": lambda body: b"[" + body + b"]",
    "text": lambda _: b'"text"',
    "cut off": lambda body: body[:-1],
    "twice": lambda body: body + body,
    "trailing comma": lambda body: body[:-1] + b",}",
    "comment": lambda body: b"/* a */" + body,
    "single quotes": lambda body: body.replace(b'"', b"'"),
    "NaN": lambda body: added(body, b'"x": NaN'),
    "Infinity": lambda body: added(body, b'"x": [-Infinity]'),
    "1e400": lambda body: added(body, b'"x": 1e400'),
    "int beyond 2^53": lambda body: added(body, b'"x": 9007199254740993'),
    "int of 5000 digits": lambda body: added(body, b'"x": ' + b"9" * 5000),
    "hexadecimal": lambda body: added(body, b'"x": 0x10'),
    "leading zero": lambda body: added(body, b'"x": 010'),
    "NUL": lambda body: added(body, b'"x": "\\u0000"'),
    "raw NUL": lambda body: added(body, b'"x": "\x00"'),
    "NUL in a key": lambda body: added(body, b'"x\\u0000": 1'),
    "lone surrogate": lambda body: added(body, b'"x": "\\ud800"'),
    "lone surrogate in a key": lambda body: added(body, b'"\\udfff": 1'),
    "no UTF-8": lambda body: added(body, b'"x": "\xff\xfe"'),
    "overlong UTF-8": lambda body: added(body, b'"x": "\xc0\xaf"'),
    "byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "UTF-16": lambda body: body.decode().encode("utf-16"),
    "UTF-32": lambda body: body.decode().encode("utf-32-le"),
    "long text": lambda body: added(body, b'"x": "' + b"a" * (MAX_TEXT + 1) + b'"'),
    "long key": lambda body: added(body, b'"' + b"a" * (MAX_TEXT + 1) + b'": 1'),
    "deep": lambda body: added(body, b'"x": ' + DEEP),
    "very deep": lambda body: added(body, b'"x": ' + b"[" * 100_000),
    "deep mappings": lambda body: added(body, b'"x": ' + b'{"a":' * 50_000),
    "many keys": lambda body: added(body, b'"x": ' + KEYS),
    "many values": lambda body: added(body, b'"x": [' + b"0," * 450_000 + b"0]"),
    "unknown key": lambda body: added(body, b'"x": 1'),
    "__proto__": lambda body: added(body, b'"__proto__": {"admin": true}'),
    "key of a dunder": lambda body: added(body, b'"__class__": {"__init__": 1}'),
}
HEADERS: dict[str, dict[str, str]] = {
    "no content type": {},
    "form": {"Content-Type": "application/x-www-form-urlencoded"},
    "multipart": {"Content-Type": "multipart/form-data; boundary=x"},
    "text": {"Content-Type": "text/plain"},
    "xml": {"Content-Type": "application/xml"},
    "a vendor's JSON": {"Content-Type": "application/vnd.api+json"},
    "another character set": {"Content-Type": "application/json; charset=iso-8859-1"},
    "no media type": {"Content-Type": '\\;;;="'},
    "gzip": JSON | {"Content-Encoding": "gzip"},
    "br, twice": JSON | {"Content-Encoding": "identity, br"},
}
QUERIES = [
    "x=1", "limit=1&limit=2", "limit=9" + "9" * 400, "limit=%00", "limit=",
    "state=running&x", "&".join(f"a{number}=1" for number in range(800)), "cursor=" + "A" * 200, "cursor=%ed%a0%80",
    "__class__=1", "limit[]=1", "limit[$gt]=1", "Limit=1",
]  # fmt: skip


def faulty(answer: httpx.Response, *types: str) -> list[str]:
    """What is wrong with an answer that should be a problem."""
    if not 400 <= answer.status_code < 500 or answer.headers.get("Content-Type") != "application/problem+json":
        return [f"{answer.status_code} {answer.headers.get('Content-Type')} {answer.text[:200]}"]
    problem = Problem.model_validate(answer.json())
    code = problem.type.removeprefix("/problems/")
    if STATUS.get(code) != answer.status_code or not problem.detail or len(answer.text) > 20_000:  # type: ignore[call-overload]
        return [f"{code} {answer.status_code} {problem.detail[:200]}"]
    return [] if not types or code in types else [f"{code}: {problem.detail[:200]}"]


@pytest.mark.fuzz
@pytest.mark.timeout(600)  # for a busy machine
def test_no_body_gets_further_than_the_parser_that_should_not(
    module_database: str, admin: httpx.Client, worker: httpx.Client, held: dict[str, str]
) -> None:
    before = admin.get("/v1/experiments").json()["items"]
    wrong = []
    tried = 0
    for method, path, document in GOOD:
        body = json.dumps(document).encode()
        client, path = worker if path.startswith("/v1/worker") else admin, path.format(**held)
        for name, change in BODIES.items():
            changed = change(body)
            answer = client.request(method, path, content=changed, headers=JSON)
            types: tuple[str, ...] = ("malformed-body", "invalid-request", "invalid-submission")
            if path == "/v1/login" and len(changed) > MAX_LOGIN_BYTES:
                types = ("body-too-large",)
            wrong += [f"{path} {name}: {fault}" for fault in faulty(answer, *types)]
            tried += 1
        for name, headers in HEADERS.items():
            answer = client.request(method, path, content=body, headers=headers)
            wrong += [f"{path} {name}: {fault}" for fault in faulty(answer, "unsupported-media-type")]
            tried += 1
    for query in QUERIES:
        answer = admin.get(f"/v1/experiments?{query}")
        wrong += [f"{query!r}: {fault}" for fault in faulty(answer, "invalid-request")]
        tried += 1
    assert wrong == []
    assert tried >= 80
    assert admin.post("/v1/plans", json=submission()).status_code == 200
    assert admin.get("/readyz").json()["ready"]
    assert admin.get("/v1/experiments").json()["items"] == before
    assert settled_violations(module_database) == []


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("bytes=0-9", 206),
        ("bytes=60-", 206),
        ("bytes=-5", 206),
        ("bytes=0-999999", 206),
        ("bytes=-999999", 206),
        ("bytes=99999-", 416),
        ("bytes=9-3", 416),
        ("bytes=-", 416),
        ("bytes=", 416),
        ("bytes=a-b", 416),
        ("lines=0-9", 416),
        ("bytes=0-0,2-2", 416),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(3_000)), 416),
        ("bytes=" + "9" * 5_000 + "-", 416),
        ("bytes=\u0661-", 416),
    ],
    ids=lambda part: str(part)[:30],
)
def test_a_range_is_one_part_or_refused(admin: httpx.Client, server: Running, text: str, status: int) -> None:
    digest, content = stored(server.app)
    answer = admin.get(f"/v1/artifacts/{digest}", headers=[(b"Range", text.encode())])
    assert answer.status_code == status
    if status == 206:
        assert answer.content in content
    else:
        assert faulty(answer, "range-not-satisfiable") == []


def test_a_repeated_upload_is_held_to_its_name(worker: httpx.Client, held: dict[str, str]) -> None:
    digest, content = checkpoint(1)

    def send(data: bytes) -> httpx.Response:
        return worker.put(f"/v1/worker/artifacts/{digest}", params=fence(held), content=data)

    assert send(content).status_code == 201
    assert send(content).status_code == 200
    for other in (b"", content[:-1], content + b"x"):
        assert faulty(send(other), "digest-mismatch") == []


def test_the_methods_of_an_address_are_all_named(admin: httpx.Client) -> None:
    assert admin.delete("/v1/experiments").headers["Allow"] == "GET, POST"
    assert admin.patch(f"/v1/worker/workers/{NOWHERE}").headers["Allow"] == "DELETE, PUT"
