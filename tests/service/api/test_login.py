"""The one route with a body that is open to strangers: what fails there counts, and little is read for nothing."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from service.api.access import MAX_LOGIN_BYTES
from service.api.documents import MAX_MEDIA_TYPE
from service.api.faults import MOST
from tests.service.api.test_limits import Make, refused
from tests.service.api.test_limits import limited as limited

CODE = {"code": "x" * 43}
JSON = {"Content-Type": "application/json"}
# Tries that fail in every way, and how each is answered.
FAILING: dict[str, tuple[dict[str, Any], int]] = {
    "a wrong code": ({"json": CODE}, 401),
    "no body": ({}, 422),
    "no code": ({"json": {}}, 422),
    "no code at all": ({"json": {"code": "x"}}, 422),
    "no JSON": ({"content": b"{", "headers": JSON}, 400),
    "a value beyond JSON": ({"content": b'{"code": 1e999}', "headers": JSON}, 422),
    "no JSON by its type": ({"content": json.dumps(CODE), "headers": {"Content-Type": "text/plain"}}, 415),
    "compressed": ({"json": CODE, "headers": {"Content-Encoding": "gzip"}}, 415),
    "a query": ({"json": CODE, "params": {"a": "1"}}, 422),
    "too large": ({"content": b" " * (MAX_LOGIN_BYTES + 1), "headers": JSON}, 413),
    "too large, in pieces": ({"content": iter([b" " * 1000] * 2), "headers": JSON}, 413),
}


@pytest.mark.parametrize("failing", FAILING)
def test_a_try_that_fails_counts_whatever_is_wrong_with_it(limited: Make, failing: str) -> None:
    admin, stranger = limited("admin", logins_per_minute=1), limited("")
    code = admin.post("/v1/login-codes").json()["code"]
    sent, status = FAILING[failing]
    assert stranger.post("/v1/login", **sent).status_code == status
    assert refused(stranger.post("/v1/login", json={"code": code}))
    outcomes = [item["outcome"] for item in admin.get("/v1/audit").json()["items"] if item["action"] == "log_in"]
    assert outcomes == ["too-many-requests"] + ["unauthenticated"] * (status == 401)


def test_who_failed_too_often_is_answered_before_a_body_is_read(limited: Make) -> None:
    stranger = limited("", logins_per_minute=1)
    assert stranger.post("/v1/login", json=CODE).status_code == 401
    parts = urlsplit(str(stranger.base_url))
    head = b"POST /v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 53\r\n\r\n"
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=60) as connection:
        connection.sendall(head)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 429")


def test_a_code_that_is_right_counts_for_nothing(limited: Make) -> None:
    admin, browser = limited("admin", logins_per_minute=1), limited("")
    for _ in range(3):
        code = admin.post("/v1/login-codes").json()["code"]
        assert browser.post("/v1/login", json={"code": code}).status_code == 204


def test_a_media_type_has_an_end(anonymous: httpx.Client) -> None:
    longest = "application/json; x=".ljust(MAX_MEDIA_TYPE, "a")
    for kind, status in ((longest, 401), (longest + "a", 415)):
        answer = anonymous.post("/v1/login", content=json.dumps(CODE), headers={"Content-Type": kind})
        assert answer.status_code == status


def test_of_many_faults_the_first_are_told(admin: httpx.Client) -> None:
    for count in (MOST, 10 * MOST):
        said = f"the request has {MOST if count == MOST else f'more than {MOST}'} faults"
        body = b'{"name": [' + b",".join([b"1e999"] * count) + b"]}"
        query = "&".join(f"x{number}" for number in range(count))
        answers = [
            admin.post("/v1/tokens", content=body, headers=JSON),
            admin.get("/v1/experiments", params=query),
        ]
        for answer in answers:
            problem = answer.json()
            assert (problem["type"], problem["detail"]) == ("/problems/invalid-request", said)
            assert len(problem["faults"]) == MOST
