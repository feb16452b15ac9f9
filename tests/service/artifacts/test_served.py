"""A server whose artifacts lie in a bucket: over HTTP it is the same as one with a folder."""

from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.artifacts import Bucket
from service.settings import Settings, SettingsError
from tests.service.api.conftest import serving
from tests.service.api.helpers import checkpoint, fence, hold_task


def client(url: str, token_file: Path) -> httpx.Client:
    """A client with the token in a file."""
    headers = {"Authorization": f"Bearer {token_file.read_text().strip()}"}
    return httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)


def test_a_checkpoint_goes_into_the_bucket_and_comes_out(database_url: str, bucket_url: str, tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path, database_url=database_url, threads=4, artifacts=bucket_url, dashboard=False)
    sha256, data = checkpoint(1)
    with serving(create_app(settings)) as url, client(url, settings.admin_token_file) as admin:
        with client(url, settings.worker_token_file) as worker:
            path = f"/v1/artifacts/{sha256}"
            assert admin.get(path).status_code == 404
            held = hold_task(admin, worker)
            for status in (201, 200):
                sent = worker.put(f"/v1/worker{path[3:]}", params=fence(held), content=data)
                assert sent.status_code == status
        got = admin.get(path)
        assert got.content == data
        assert got.headers["Content-Disposition"].startswith("attachment")
        assert got.headers["ETag"] == f'"{sha256}"'
        assert_parts(admin, path, data)
        assert admin.head(path).headers["Content-Length"] == str(len(data))
        assert admin.get("/readyz").json()["checks"]["artifacts"] == "ok"
        Bucket(bucket_url).remove(sha256)
        assert admin.get(path).json()["type"] == "/problems/artifact-damaged"
    assert list((tmp_path / "artifacts" / "tmp").iterdir()) == []


def assert_parts(client: httpx.Client, path: str, data: bytes) -> None:
    """Over HTTP the parts of an artifact are those of a file."""
    size = len(data)

    def ask(part: str, **more: str) -> httpx.Response:
        return client.get(path, headers={"Range": part} | more)

    for asked, first, last in (
        ("bytes=0-0", 0, 0), ("bytes=3-9", 3, 9), ("bytes=5-", 5, size - 1), ("bytes=-4", size - 4, size - 1),
        ("bytes=1-999999", 1, size - 1), ("bytes=-999999", 0, size - 1), (f"bytes={size - 1}-", size - 1, size - 1),
    ):  # fmt: skip
        got = ask(asked)
        assert (got.status_code, got.content) == (206, data[first : last + 1]), asked
        assert got.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
        assert got.headers["Content-Length"] == str(last - first + 1)
        assert got.headers["ETag"] == client.head(path).headers["ETag"]
    for asked in (f"bytes={size}-", "bytes=-0", "bytes=5-4", "bytes=0-1,3-4", "bytes=-", "lines=0-1"):
        got = ask(asked)
        assert (got.status_code, got.json()["type"]) == (416, "/problems/range-not-satisfiable"), asked
    etag = client.head(path).headers["ETag"]
    assert ask("bytes=3-9", **{"If-Range": etag}).status_code == 206
    whole = ask("bytes=3-9", **{"If-Range": '"another"'})
    assert (whole.status_code, whole.content) == (200, data)


def test_a_folder_and_a_bucket_give_the_same_parts(database_url: str, tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path, database_url=database_url, threads=4, dashboard=False)
    sha256, data = checkpoint(1)
    with serving(create_app(settings)) as url, client(url, settings.admin_token_file) as admin:
        with client(url, settings.worker_token_file) as worker:
            held = hold_task(admin, worker)
            worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(held), content=data).raise_for_status()
        assert_parts(admin, f"/v1/artifacts/{sha256}", data)


def test_a_bucket_that_is_away_is_503_and_not_ready(database_url: str, s3_endpoint: str, tmp_path: Path) -> None:
    assert s3_endpoint
    settings = Settings.load(
        home=tmp_path, database_url=database_url, threads=4, artifacts="s3://nobody-made-this", dashboard=False
    )
    sha256, data = checkpoint(1)
    with (
        serving(create_app(settings)) as url,
        client(url, settings.admin_token_file) as admin,
        client(url, settings.worker_token_file) as worker,
    ):
        held = hold_task(admin, worker)
        sent = worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(held), content=data)
        assert (sent.status_code, sent.json()["type"]) == (503, "/problems/storage-unavailable")
        assert "Retry-After" in sent.headers
        assert sent.json()["detail"] == "The bucket for artifacts does not answer; try again in a moment."


def test_an_unmounted_folder_is_waited_out_and_nothing_is_called_damaged(database_url: str, tmp_path: Path) -> None:
    place = tmp_path / "mounted"
    settings = Settings.load(
        home=tmp_path / "home", database_url=database_url, threads=4, artifacts=str(place), dashboard=False
    )
    sha256, data = checkpoint(1)
    with (
        serving(create_app(settings)) as url,
        client(url, settings.admin_token_file) as admin,
        client(url, settings.worker_token_file) as worker,
    ):
        held = hold_task(admin, worker)
        paths = (f"/v1/artifacts/{sha256}", f"/v1/artifacts/{'0' * 64}")

        def send() -> httpx.Response:
            return worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(held), content=data)

        assert send().status_code == 201
        place.rename(tmp_path / "aside")
        place.mkdir()  # what is left of a mount
        for answer in (send(), *(admin.get(path) for path in paths)):
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/storage-unavailable")
            assert int(answer.headers["Retry-After"]) > 0
            assert str(tmp_path) not in answer.text
        assert admin.get("/readyz").json()["checks"]["artifacts"] != "ok"
        place.rmdir()
        (tmp_path / "aside").rename(place)
        assert [admin.get(path).status_code for path in paths] == [200, 404]


@pytest.mark.parametrize("value", ["s3://", "s3:///prefix", "gs://bucket", "s3://bucket/a?b=c", "https://bucket"])
def test_what_is_neither_folder_nor_bucket_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"STAGETUNE_ARTIFACTS: .*s3://bucket/prefix"):
        Settings.load(home=tmp_path, artifacts=value)
