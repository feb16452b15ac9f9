import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from service.app import create_app
from service.settings import Settings

NOWHERE = "00000000-0000-4000-8000-000000000000"


def raw(url: str, text: bytes) -> bytes:
    """The first line that the server answers to bytes as they are."""
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=20) as connection:
        connection.sendall(text)
        return connection.recv(65536).split(b"\r\n", 1)[0]


def everything(url: str, text: bytes) -> bytes:
    """All that the server answers to bytes as they are, until it ends the connection."""
    parts = urlsplit(url)
    received = b""
    # A connection that is ended before all was read may take the answer with it.
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=60) as connection,
    ):
        connection.sendall(text)
        while more := connection.recv(65536):
            received += more
    return received


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST:1", "[::1]:8000", "127.0.0.1:65535"])
def test_names_of_this_machine_are_answered(anonymous: httpx.Client, host: str) -> None:
    assert anonymous.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "169.254.169.254", "0x7f.1"]
)
def test_other_names_are_refused(anonymous: httpx.Client, host: str) -> None:
    for path in ("/healthz", "/", "/v1/experiments", "/dashboard"):
        answer = anonymous.get(path, headers={"Host": host})
        assert answer.status_code == 403
        assert answer.json()["type"] == "/problems/forbidden"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost/../dashboard",
        "a b",
        "localhost:99999999",
        "[::1",
        "localhost@evil",
        "localhost:80:80",
        "/",
        "\xfc",
    ],
)
def test_malformed_hosts_are_refused(anonymous: httpx.Client, host: str) -> None:
    answer = anonymous.get("/v1/experiments", headers=[(b"Host", host.encode("latin-1"))])
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "text",
    [
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
        b"GET http://evil/healthz HTTP/1.1\r\nHost: evil\r\n\r\n",
        b"POST /v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/experiments?\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /static/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_broken_requests_are_no_server_errors(server: Any, text: bytes) -> None:
    status = raw(server.url, text).split(b" ")[1]
    assert status.startswith(b"4")


@pytest.mark.parametrize("method", ["GET /healthz", "POST /v1/login", "POST /nowhere"])
@pytest.mark.parametrize("length", [b"2", b"5", b"13"])
def test_a_body_with_two_lengths_is_refused_with_all_that_follows(server: Any, method: str, length: bytes) -> None:
    head = f"{method} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    head += b"Transfer-Encoding: chunked\r\nContent-Length: " + length + b"\r\n\r\n"
    head += b"2\r\n{}\r\n0\r\n\r\n"
    answered = everything(server.url, head + b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert b"/problems/malformed-body" in answered
    assert answered.count(b"HTTP/1.1 ") == 1
    assert httpx.get(f"{server.url}/healthz", trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://["}, False),
        ({"Origin": "http://a]"}, False),
        ({"Origin": "http://[x]:1"}, False),
        ({"Origin": "http://127.0.0.1:1"}, False),
        ({"Origin": "own"}, True),
        ({"Origin": "own", "Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_writes_come_from_our_own_pages_only(
    server: Any, page: httpx.Client, headers: dict[str, str], allowed: bool
) -> None:
    sent = {name: server.url if value == "own" else value for name, value in headers.items()}
    answer = page.post(f"/v1/experiments/{NOWHERE}/pause", headers=sent)
    assert answer.status_code == (404 if allowed else 403)


@pytest.mark.parametrize(
    "path", ["/", "/login", "/v1/experiments", "/healthz", "/nothing", "/assets/stagetune.css", "/dashboard"]
)
def test_every_answer_carries_the_security_headers(page: httpx.Client, path: str) -> None:
    headers = page.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    policy = headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "Access-Control-Allow-Origin" not in headers
    assert "uvicorn" not in headers.get("server", "")
    if path != "/dashboard":
        assert "unsafe" not in policy


def test_a_page_without_a_session_leads_to_the_login(
    anonymous: httpx.Client, client_of: Callable[[str], httpx.Client]
) -> None:
    for path in ("/", f"/experiments/{NOWHERE}", "/dashboard", "/studies/x"):
        answer = anonymous.get(path)
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/login")
    assert client_of("worker").get("/").status_code == 303
    assert client_of("read").get("/").status_code == 200
    assert "stagetune open" in anonymous.get("/login").text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("10.1.2.3:8000", 200), ("[2001:db8::1]:8000", 200), ("localhost", 200), ("tune.example", 200),
        (socket.gethostname(), 200), ("evil.example", 403), ("10.1.2.3.nip.io", 403), ("0x7f.1", 403),
    ],
)  # fmt: skip
def test_beyond_loopback_names_are_still_known_ones(tmp_path: Path, host: str, status: int) -> None:
    settings = Settings.load(home=tmp_path, host="0.0.0.0", allow_remote=True, allowed_hosts="tune.example")  # noqa: S104
    transport = httpx.ASGITransport(create_app(settings))

    async def ask() -> int:
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return (await client.get("/healthz", headers={"Host": host})).status_code

    assert asyncio.run(ask()) == status


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://tune.example.org:8000", True),
        ("http://tune.example.org:8000", False),
        # Other programs of this machine speak http on other ports; browsers pass over addresses.
        ("https://localhost:8000", False),
        ("https://127.0.0.1:8000", False),
    ],
)
def test_browsers_keep_to_tls_once_they_have_come_by_it(tmp_path: Path, url: str, kept: bool) -> None:
    app = create_app(Settings.load(home=tmp_path, allowed_hosts=("tune.example.org",)))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=url) as client:
            return await client.get("/healthz")

    answer = asyncio.run(ask())
    assert answer.status_code == 200
    assert answer.headers.get("Strict-Transport-Security") == ("max-age=31536000" if kept else None)
