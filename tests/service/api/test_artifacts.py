from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.api.helpers import checkpoint, fence, stored


def test_a_checkpoint_goes_in_and_comes_out_as_it_was(
    worker: httpx.Client, admin: httpx.Client, held: dict[str, str]
) -> None:
    sha256, data = checkpoint(1)
    assert admin.head(f"/v1/artifacts/{sha256}").status_code == 404
    first = worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(held), content=data)
    again = worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(held), content=data)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json() == {"sha256": sha256, "size": len(data)}
    got = admin.get(f"/v1/artifacts/{sha256}")
    assert got.content == data
    assert got.headers["Content-Type"] == "application/octet-stream"
    assert got.headers["Content-Disposition"].startswith("attachment")
    assert got.headers["ETag"] == f'"{sha256}"'
    head = admin.head(f"/v1/artifacts/{sha256}")
    assert head.status_code == 200
    assert head.headers["Content-Length"] == str(len(data))


def test_a_part_of_a_checkpoint_can_be_asked_for(server: Any, admin: httpx.Client) -> None:
    sha256, data = stored(server.app, 2)
    parts = {"4-9": data[4:10], "4-": data[4:], "-5": data[-5:], "4-999999": data[4:], f"-{len(data) + 1}": data}
    for wanted, expected in parts.items():
        for condition in ({}, {"If-Range": f'"{sha256}"'}):
            part = admin.get(f"/v1/artifacts/{sha256}", headers={"Range": f"bytes={wanted}"} | condition)
            assert (part.status_code, part.content) == (206, expected)
            first = len(data) - len(expected) if expected != data[4:10] else 4
            assert part.headers["Content-Range"] == f"bytes {first}-{first + len(expected) - 1}/{len(data)}"
    changed = admin.get(f"/v1/artifacts/{sha256}", headers={"Range": "bytes=4-9", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, data)


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [(b"other bytes", 422, "digest-mismatch"), (b"", 422, "digest-mismatch"), (bytes(100_001), 413, "body-too-large")],
)
def test_bytes_that_do_not_fit_are_refused(
    worker: httpx.Client, held: dict[str, str], content: bytes, status: int, kind: str
) -> None:
    answer = worker.put(f"/v1/worker/artifacts/{'b' * 64}", params=fence(held), content=content)
    assert answer.status_code == status
    assert answer.json()["type"] == f"/problems/{kind}"


def test_a_stream_without_length_is_cut_at_the_limit(worker: httpx.Client, held: dict[str, str]) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(4000):
            yield bytes(1024)

    try:
        answer = worker.put(f"/v1/worker/artifacts/{'b' * 64}", params=fence(held), content=endless())
    except httpx.TransportError:
        return  # the server closed the connection while we still sent
    assert answer.status_code == 413


def test_bytes_that_are_there_already_are_held_to_the_limit_too(
    worker: httpx.Client, server: Any, held: dict[str, str]
) -> None:
    sha256, data = stored(server.app, 4)
    longer = data + bytes(server.settings.artifact_bytes)
    answer = worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(held), content=longer)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/body-too-large")


def test_a_pickle_is_no_checkpoint(worker: httpx.Client, held: dict[str, str]) -> None:
    import hashlib

    data = b"\x80\x04cposix\nsystem\n."
    name = hashlib.sha256(data).hexdigest()
    answer = worker.put(f"/v1/worker/artifacts/{name}", params=fence(held), content=data)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/invalid-artifact"


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e", "..%5c..%5cwin.ini", "%252e%252e%252f", "....//....//etc",
        "C:%5c", "a%00b", "%c0%ae%c0%ae%2f", "\uff0e\uff0e\uff0f", "A" * 64, "a" * 4096, "tmp", ".",
    ],
)  # fmt: skip
def test_no_name_leads_out_of_the_store(worker: httpx.Client, server: Any, held: dict[str, str], name: str) -> None:
    home: Path = server.settings.home
    before = {path for path in home.rglob("*") if path.is_file()}
    fenced = "?task={task}&attempt={attempt}".format(**held)
    for method, path in (("GET", f"/v1/artifacts/{name}"), ("PUT", f"/v1/worker/artifacts/{name}{fenced}")):
        answer = worker.request(method, path, content=b"x" if method == "PUT" else None)
        assert answer.status_code in (404, 405), answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert {path for path in home.rglob("*") if path.is_file()} == before


def test_damage_is_a_problem_of_its_own_until_the_bytes_come_again(
    worker: httpx.Client, admin: httpx.Client, server: Any, held: dict[str, str]
) -> None:
    sha256, data = stored(server.app, 3)
    path = server.settings.home / "artifacts" / sha256[:2] / sha256
    for damage in (lambda: path.write_bytes(data[:-1] + b"x"), path.unlink):
        damage()
        answer = admin.get(f"/v1/artifacts/{sha256}")
        assert (answer.status_code, answer.json()["type"]) == (410, "/problems/artifact-damaged")
        assert sha256 in answer.json()["detail"]
        again = worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(held), content=data)
        assert again.status_code == 201
        assert admin.get(f"/v1/artifacts/{sha256}").content == data
