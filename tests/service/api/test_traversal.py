"""Names that lead elsewhere: wherever a client may put a name, none of them reads or writes a file outside its place."""

# ruff: noqa: E501 - tables of inputs

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from service.artifacts import open_store
from service.domain.errors import NotFound
from tests.invariants import settled_violations
from tests.service.api.conftest import Running
from tests.service.api.helpers import DOTS, submission, trained

NOWHERE = "00000000-0000-4000-8000-000000000000"
CANARY = "stagetune-canary-of-this-test"
UP = [
    "../", "..\\", "..%2f", "..%5c", "%2e%2e/", "%2e%2e%2f", "%2e%2e%5c", "%252e%252e%252f", "%252e%252e/", "..%252f",
    "..%c0%af", "%c0%ae%c0%ae/", "..%c1%9c", "%e0%80%ae%e0%80%ae/", "..%ef%bc%8f", "\uff0e\uff0e/", "\uff0e\uff0e\uff0f",
    "..\u2215", "..\u2044", "....//", "....\\\\", "..;/", "..//", ".././", "/..//../", "..\u0000/", "..%00/", "%u002e%u002e/",
    "\u202e../", "..\t/", "..\r\n/",
]  # fmt: skip
STRINGS = [
    *(up * 8 + "canary" for up in UP),
    *(f"a/{up}{up}canary" for up in UP[:12]),
    "..", ".", "...", "/", "//", "\\", "~", "~root", "~/canary", "$HOME/canary", "${HOME}", "`id`", "$(id)", "|id", ";id",
    "/etc/passwd", "//etc/passwd", "/proc/self/environ", "/dev/zero", "/dev/stdin", "file:///etc/passwd", "C:\\canary",
    "C:/canary", "C:canary", "\\\\host\\share\\canary", "//host/share", "\\\\?\\C:\\canary", "CON", "NUL", "aux.txt",
    "canary\u0000.yaml", "canary%00.yaml", "canary\n", ".git/config", "admin-token", "../admin-token", "tmp/../admin-token",
    "-rf", "--help", "*", "?", "a" * 4096, "../" * 1365, "\ufeff..", "%", "%zz", "%2", "a" * 63 + "/", "a" * 64 + "/../x",
]  # fmt: skip
# Addresses with a name in them.
PATHS = [
    ("GET", "/v1/presets/{}"), ("GET", "/v1/artifacts/{}"), ("PUT", "/v1/worker/artifacts/{}?task={task}&attempt={attempt}"), ("DELETE", "/v1/tokens/{}"),
    ("GET", f"/v1/experiments/{NOWHERE}/embeddings/{{}}"), ("GET", "/assets/{}"), ("GET", "/static/{}"),
    ("GET", "/dashboard/{}"), ("GET", "/experiments/{}"), ("GET", "/studies/{}"),
]  # fmt: skip
# The dashboard shows its page at any address below its own, and a study without a number leads there.
SHOWN = ("/dashboard/", "/studies/")


def tree(root: Path) -> dict[str, str]:
    """Every file below a folder, by the SHA-256 of its content."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def canary(server: Running) -> Iterator[dict[str, str]]:
    """A file beside the home that nobody may be shown, and what lies there before; after the test it is the same."""
    around = server.settings.home.parent
    (around / "canary").write_text(CANARY)
    before = tree(around)
    yield before
    assert tree(around) == before


def test_there_are_enough_strings_to_believe_the_test() -> None:
    assert len(set(STRINGS)) >= 60


@pytest.mark.fuzz
@pytest.mark.timeout(600)  # for a busy machine; what it does is the same
@pytest.mark.usefixtures("canary")
def test_no_name_in_an_address_leads_anywhere(
    server: Running, admin: httpx.Client, worker: httpx.Client, held: dict[str, str]
) -> None:
    secrets = [CANARY, "root:x:0", server.settings.admin_token_file.read_text().strip()]
    for method, path in PATHS:
        for name in set(STRINGS) - {".", ".."}:  # which no client sends
            plain = name.encode("utf-8", "replace")
            # As it is written where that is an escape already, else escaped.
            written = quote(plain, safe="/%" if "%" in name else "")
            client, content = (worker, b"x") if method == "PUT" else (admin, None)
            answer = client.request(method, path.format(written, **held), content=content)
            said = f"{method} {path} {name[:60]!r}: {answer.status_code} {answer.text[:200]}"
            assert not any(secret in answer.text for secret in secrets), said
            assert answer.status_code in ({200, 303, 404, 422} if path.startswith(SHOWN) else {404, 405, 422}), said
    assert admin.get("/readyz").json()["ready"]


@pytest.mark.fuzz
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("canary")
def test_no_name_in_a_body_leads_anywhere(
    admin: httpx.Client, worker: httpx.Client, module_database: str, held: dict[str, str]
) -> None:
    result = "/v1/worker/tasks/{task}/attempts/{attempt}/result".format(**held)
    for name in STRINGS:
        dots = DOTS | {"digest": name}
        kept = [
            worker.put(
                f"/v1/worker/workers/{NOWHERE}",
                json={"name": name, "device": name, "datasets": [DOTS | {"name": name}]},
            ),
            admin.post("/v1/plans", json=submission(name=name)),
        ]
        refused = [
            admin.post("/v1/plans", json=submission(dataset={"name": f"{name}-nobody-has-it"})),
            admin.post("/v1/plans", json=submission(architectures={"A": [name]}, variants=None)),
            worker.put(f"/v1/worker/workers/{NOWHERE}", json={"name": "w", "device": "cpu", "datasets": [dots]}),
            worker.put(result, json=trained(name)),
        ]
        for answer in kept:
            # What is only a label may be written in any way that is text.
            assert answer.status_code in (200, 201, 422), answer.text
        for answer in refused:
            assert answer.status_code == 422, answer.text
            assert CANARY not in answer.text
    worker.delete(f"/v1/worker/workers/{NOWHERE}")
    assert settled_violations(module_database) == []


def test_the_store_of_artifacts_opens_nothing_but_digests(tmp_path: Path) -> None:
    (tmp_path / "canary").write_text(CANARY)
    store = open_store(None, tmp_path / "home", 1000)
    before = tree(tmp_path)
    for name in STRINGS:
        for use in (store.find, store.upload):
            with pytest.raises(NotFound):
                use(name)
    assert tree(tmp_path) == before
