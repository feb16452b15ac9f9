import re
import time
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from optuna.storages import InMemoryStorage
from optuna_dashboard import wsgi

from tests.service.api.helpers import submission
from tests.service.api.test_guard import raw


@pytest.fixture
def studies(admin: httpx.Client, page: httpx.Client, registered: str) -> list[dict[str, Any]]:
    """What the dashboard lists once an experiment has been projected."""
    assert registered
    admin.post("/v1/experiments", json=submission())
    deadline = time.monotonic() + 30
    while True:
        found: list[dict[str, Any]] = page.get("/api/studies").json()["study_summaries"]
        if found:
            return found
        assert time.monotonic() < deadline


def test_the_dashboard_reads_our_studies(page: httpx.Client, studies: list[dict[str, Any]]) -> None:
    study = studies[0]["study_id"]
    assert page.get("/dashboard").status_code == 200
    assert page.get(f"/dashboard/studies/{study}").status_code == 200
    assert "unsafe-eval" in page.get("/dashboard").headers["Content-Security-Policy"]
    assert len(page.get("/static/bundle.js").content) > 100_000
    assert page.get("/api/meta").json()["artifact_is_available"] is False
    assert "trials" in page.get(f"/api/studies/{study}", params={"after": 0}).json()
    assert page.get(f"/csv/{study}").status_code == 200


def test_a_search_leads_to_its_study(page: httpx.Client, studies: list[dict[str, Any]]) -> None:
    answer = page.get(f"/studies/{quote(studies[0]['study_name'])}")
    assert answer.headers["Location"] == f"/dashboard/studies/{studies[0]['study_id']}"
    assert page.get("/studies/no such study").headers["Location"] == "/dashboard"


WRITES = [
    ("POST", "/api/studies"), ("DELETE", "/api/studies/1"), ("POST", "/api/studies/1/rename"),
    ("PUT", "/api/studies/1/note"), ("POST", "/api/trials/1/tell"), ("POST", "/api/trials/1/user-attrs"),
    ("PUT", "/api/studies/1/1/note"), ("POST", "/api/studies/1/1/skip"), ("POST", "/api/studies/1/preference"),
    ("POST", "/api/artifacts/1/1"), ("DELETE", "/api/artifacts/1/abc"), ("POST", "/incompatible-rdb-schema"),
    ("POST", "/api/llm/trial_filter_query"), ("GET", "/artifacts/1/abc"), ("GET", "/incompatible-rdb-schema"),
    ("PUT", "/dashboard"), ("POST", "/csv/1"), ("PATCH", "/api/meta"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_nothing_that_writes_gets_through(page: httpx.Client, method: str, path: str) -> None:
    answer = page.request(method, path, json={})
    assert answer.status_code in (404, 405)
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/api/studies", "/api/meta", "/static/bundle.js", "/csv/1", "/favicon.ico"])
def test_strangers_and_workers_stay_outside(anonymous: httpx.Client, worker: httpx.Client, path: str) -> None:
    assert anonymous.get(path).status_code == 401
    assert worker.get(path).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/api/studies/99999999999999999999", "/api/studies/2147483648", "/api/studies/-1", "/api/studies/x",
        "/api/studies/999999", "/static/../../etc/passwd", "/static/%2e%2e/%2e%2e/setup.py", "/static/nothing.js",
        "/csv/999999", "/api/studies/1/plot/..%2f..", "/api/studies/999999/param_importances",
    ],
)  # fmt: skip
def test_nonsense_is_no_server_error(page: httpx.Client, path: str) -> None:
    answer = page.get(path)
    assert 400 <= answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    "query",
    [
        "after=x", "after=", "after=-1", "after=99999999999999999999", "%61fter=x", "aft%65r=", "a=1&after=%20",
        "%ff=%ff", "a" * 5000,
    ],
)  # fmt: skip
def test_nonsense_in_the_query_is_no_server_error(
    page: httpx.Client, studies: list[dict[str, Any]], query: str
) -> None:
    assert page.get(f"/api/studies/{studies[0]['study_id']}?{query}").status_code < 500


def test_a_client_without_accept_encoding_is_served(page: httpx.Client, server: Any) -> None:
    session = page.cookies["stagetune_session"].encode()
    request = b"GET /static/bundle.js HTTP/1.1\r\nHost: localhost\r\nCookie: stagetune_session=" + session + b"\r\n\r\n"
    assert raw(server.url, request) == b"HTTP/1.1 200 OK"


def test_of_all_its_routes_only_those_that_read_are_reached_and_only_after_a_login(
    anonymous: httpx.Client, page: httpx.Client, studies: list[dict[str, Any]]
) -> None:
    application: Any = wsgi(InMemoryStorage())
    study = str(studies[0]["study_id"])
    rules = {re.sub(r"<[^<>]*>", study, route.rule.replace("<:re:(/.*)?>", "/1")) for route in application.routes}
    assert len(rules) > 20
    reached = set()
    for rule in rules:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            assert anonymous.request(method, rule).status_code in (303, 401, 404, 405), (method, rule)
            answer = page.request(method, rule)
            assert answer.status_code < 500, (method, rule)
            # What the dashboard itself answers, be it that there is no such plot, is no problem of ours.
            if answer.headers["Content-Type"] != "application/problem+json":
                reached.add((method, rule))
    here = f"/api/studies/{study}"
    assert {rule for method, rule in reached if method == "GET"} == {
        "/",  # our own page
        "/dashboard/1", "/favicon.ico", f"/static/{study}", "/api/meta", "/api/studies", here,
        f"{here}/param_importances", f"{here}/plot/{study}", f"/csv/{study}",
    }  # fmt: skip
    assert {method for method, _ in reached} == {"GET", "HEAD"}


@pytest.mark.parametrize(
    "path", ["/api/studies/{}", "/api/studies/{}/param_importances", "/api/studies/{}/plot/contour", "/csv/{}"]
)
def test_what_is_no_number_is_no_study(
    anonymous: httpx.Client, page: httpx.Client, studies: list[dict[str, Any]], path: str
) -> None:
    study = str(studies[0]["study_id"])
    # Python refuses to read the longest of them.
    for number in ("9" * 4_301, "0" * 15_000, f"{study}%0a", f"+{study}", f"{study}.0", "%D9%A1", "x", "-1", "1_0"):
        for client, status, problem in ((anonymous, 401, "unauthenticated"), (page, 404, "not-found")):
            for method in ("GET", "HEAD"):
                answer = client.request(method, path.format(number))
                assert answer.status_code == status, (number[:20], answer.text)
            assert client.get(path.format(number)).json()["type"] == f"/problems/{problem}"
            assert client.post(path.format(number)).status_code == 405


@pytest.mark.parametrize("rest", ["", "/param_importances", "/plot/contour"])
def test_a_study_that_is_not_there_is_not_found(page: httpx.Client, rest: str) -> None:
    for number in (0, 999_999, 2**31):
        answer = page.get(f"/api/studies/{number}{rest}")
        assert answer.status_code == 404
        assert answer.json()["type"] == "/problems/not-found"
    assert page.get("/csv/999999").status_code == 404
