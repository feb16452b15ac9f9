import contextlib
import os
import stat
from collections.abc import Callable
from typing import Any

import httpx
import psycopg2
import pytest

from tests.service.api.helpers import submission

NOWHERE = "00000000-0000-4000-8000-000000000000"
CALLS = {
    "read": ("GET", "/v1/experiments"),
    "submit": ("POST", f"/v1/experiments/{NOWHERE}/pause"),
    "admin": ("GET", "/v1/tokens"),
    "worker": ("DELETE", f"/v1/worker/workers/{NOWHERE}"),
    "worker or read": ("GET", f"/v1/artifacts/{'a' * 64}"),
}
MAY = {
    "admin": {"read", "submit", "admin", "worker", "worker or read"},
    "submit": {"read", "submit", "worker or read"},
    "read": {"read", "worker or read"},
    "worker": {"worker", "worker or read"},
}


@pytest.mark.parametrize("scope", MAY)
def test_a_token_reaches_what_its_scope_includes(client_of: Callable[[str], httpx.Client], scope: str) -> None:
    client = client_of(scope)
    for needed, (method, path) in CALLS.items():
        answer = client.request(method, path)
        allowed = answer.status_code not in (401, 403)
        assert allowed == (needed in MAY[scope]), (needed, answer.text)
        if not allowed:
            assert answer.json()["type"] == "/problems/forbidden"


@pytest.mark.parametrize(
    "header",
    [
        "", "Bearer", "Basic YWRtaW46YWRtaW4=", "Bearer nonsense", "Bearer stagetune_admin_" + "A" * 43,
        "Bearer " + "x" * 8000, "Bearer a b c", "Token abc", "Bearer \xff\xfe",
    ],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path"), CALLS.values())
def test_anything_but_a_valid_token_is_unauthenticated(
    anonymous: httpx.Client, header: str, method: str, path: str
) -> None:
    answer = anonymous.request(method, path, headers=[(b"Authorization", header.encode("latin-1"))])
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["type"] == "/problems/unauthenticated"


def test_a_stranger_makes_the_server_read_no_body(anonymous: httpx.Client) -> None:
    assert anonymous.post("/v1/tokens", content=b"{not json").status_code == 401


def test_a_revoked_token_is_worth_nothing(admin: httpx.Client, connect: Callable[..., httpx.Client]) -> None:
    made = admin.post("/v1/tokens", json={"name": "short", "scope": "read", "expires": "1d"}).json()
    client = connect(made["token"])
    assert client.get("/v1/experiments").status_code == 200
    assert admin.delete(f"/v1/tokens/{made['id']}").status_code == 204
    assert client.get("/v1/experiments").status_code == 401
    listed = {token["id"]: token for token in admin.get("/v1/tokens").json()}
    assert listed[made["id"]]["revoked_at"] is not None
    assert "token" not in listed[made["id"]]
    assert admin.delete(f"/v1/tokens/{NOWHERE}").status_code == 404


def test_an_expired_token_is_worth_nothing(
    admin: httpx.Client, connect: Callable[..., httpx.Client], module_database: str
) -> None:
    made = admin.post("/v1/tokens", json={"name": "old", "scope": "read"}).json()
    sql(module_database, "UPDATE token SET expires_at = now() - interval '1 second' WHERE name = 'old'")
    assert connect(made["token"]).get("/v1/experiments").status_code == 401


def test_the_database_holds_no_secret(server: Any, page: httpx.Client, module_database: str) -> None:
    secrets = [
        server.settings.admin_token_file.read_text().strip(),
        server.settings.worker_token_file.read_text().strip(),
        page.cookies["stagetune_session"],
    ]
    dump = str([sql(module_database, f"SELECT * FROM {table}") for table in ("token", "session", "login_code")])
    assert "first admin token" in dump
    assert not any(secret in dump for secret in secrets)


def test_the_first_tokens_are_readable_by_their_owner_only(server: Any) -> None:
    for path in (server.settings.admin_token_file, server.settings.worker_token_file):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600  # noqa: PTH116


def test_a_code_opens_one_session(admin: httpx.Client, connect: Callable[..., httpx.Client]) -> None:
    made = admin.post("/v1/login-codes").json()
    assert made["path"] == f"/login#code={made['code']}"
    browser, other = connect(), connect()
    answer = browser.post("/v1/login", json={"code": made["code"]})
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert other.post("/v1/login", json={"code": made["code"]}).status_code == 401
    assert browser.get("/v1/experiments").status_code == 200
    secret = browser.cookies["stagetune_session"]
    assert browser.post("/v1/logout").status_code == 204
    late = connect().get("/v1/experiments", headers={"Cookie": f"stagetune_session={secret}"})
    assert late.status_code == 401


def login(client: httpx.Client, connect: Callable[..., httpx.Client]) -> httpx.Client:
    """A browser that has logged in with a code that this client made."""
    browser = connect()
    assert browser.post("/v1/login", json={"code": client.post("/v1/login-codes").json()["code"]}).status_code == 204
    return browser


@pytest.mark.parametrize("end", ["revoked_at = now()", "expires_at = now() - interval '1 second'"])
def test_a_session_and_a_code_end_with_the_token_behind_them(
    admin: httpx.Client, connect: Callable[..., httpx.Client], module_database: str, end: str
) -> None:
    made = admin.post("/v1/tokens", json={"name": "leaves", "scope": "admin"}).json()
    leaver = connect(made["token"])
    browser, other = login(leaver, connect), login(admin, connect)
    unused = leaver.post("/v1/login-codes").json()["code"]
    assert browser.get("/v1/experiments").status_code == 200

    sql(module_database, f"UPDATE token SET {end} WHERE id = '{made['id']}'")

    for refused in (browser.get("/v1/experiments"), browser.post(f"/v1/experiments/{NOWHERE}/pause")):
        assert (refused.status_code, refused.json()["type"]) == (401, "/problems/unauthenticated")
    assert browser.get("/").headers["Location"].startswith("/login")
    assert browser.get("/api/studies").status_code == 401
    assert connect().post("/v1/login", json={"code": unused}).status_code == 401
    assert other.get("/v1/experiments").status_code == 200


def test_a_session_submits_and_controls_but_issues_no_tokens(page: httpx.Client, registered: str) -> None:
    assert registered
    experiment = page.post("/v1/experiments", json=submission(reuse=False)).json()
    assert page.post(f"/v1/experiments/{experiment['id']}/pause").json()["state"] == "paused"
    assert page.post(f"/v1/experiments/{experiment['id']}/cancel").json()["state"] == "cancelled"
    assert page.get("/v1/tokens").status_code == 403
    assert page.post("/v1/login-codes").status_code == 403
    assert page.post("/v1/worker/leases", json={}).status_code == 403


def test_a_wrong_header_is_not_rescued_by_a_cookie(page: httpx.Client) -> None:
    assert page.get("/v1/experiments", headers={"Authorization": "Bearer wrong"}).status_code == 401


def sql(url: str, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(psycopg2.connect(url.replace("+psycopg2", "", 1))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SET search_path = stagetune")
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []
