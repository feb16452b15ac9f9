"""Every route against everybody: what a token's scope does not include is refused, and nothing else is."""

import re
from collections.abc import Callable

import httpx
import pytest

from tests.service.api.test_routes import SCOPES

NOWHERE = "00000000-0000-4000-8000-000000000000"
MAY = {
    "admin": {"admin", "submit", "read", "worker"},
    "submit": {"submit", "read"},
    "read": {"read"},
    "worker": {"worker"},
}
VALUES = {"attempt": "1", "sha256": "a" * 64, "study": "1", "kind": "contour"}


def filled(path: str) -> str:
    """A path with something in the place of every parameter."""
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: VALUES.get(found[1], NOWHERE), path)


@pytest.mark.parametrize("scope", MAY)
def test_every_route_answers_those_who_may_and_no_others(client_of: Callable[[str], httpx.Client], scope: str) -> None:
    client = client_of(scope)
    for name, needed in SCOPES.items():
        method, path = name.split(" ")
        answer = client.request(method, filled(path))
        if needed == "page":
            assert (answer.headers.get("Location", "").startswith("/login")) == ("read" not in MAY[scope]), name
        else:
            wanted = {"read"} if needed == "dashboard" else set(needed.split())
            assert (answer.status_code == 403) == (not wanted & MAY[scope]), name
        assert answer.status_code != 401, name
        assert answer.status_code < 500, name


def test_every_route_asks_a_stranger_who_he_is(anonymous: httpx.Client) -> None:
    for name, needed in SCOPES.items():
        method, path = name.split(" ")
        answer = anonymous.request(method, filled(path))
        if needed == "page" or path.startswith("/dashboard"):
            assert answer.status_code == 303, name
            assert answer.headers["Location"].startswith("/login"), name
        else:
            assert answer.status_code == 401, name
