"""The server takes no address to fetch from: whatever is written like one, nobody is called."""

import select
import socket

import httpx
import pytest

from tests.service.api.helpers import DOTS, submission

NOWHERE = "00000000-0000-4000-8000-000000000000"
PLACES = [
    "http://127.0.0.1:{}/x", "https://localhost:{}/x", "http://[::ffff:127.0.0.1]:{}/", "http://0:{}/", "http://2130706433:{}/",
    "http://0177.0.0.1:{}/", "http://0x7f000001:{}/", "http://user@127.0.0.1:{}/", "http://example.com@127.0.0.1:{}/",
    "//127.0.0.1:{}/x", "gopher://127.0.0.1:{}/_x", "ftp://127.0.0.1:{}/x", "file:///etc/passwd", "127.0.0.1:{}",
    "postgresql://127.0.0.1:{}/x", "s3://127.0.0.1:{}/x", "hf://127.0.0.1:{}/x", "jar:http://127.0.0.1:{}!/",
    "http://169.254.169.254/latest/meta-data/", "\\\\127.0.0.1@{}\\share", "<!ENTITY x SYSTEM 'http://127.0.0.1:{}/'>",
]  # fmt: skip


@pytest.mark.usefixtures("registered")
def test_nothing_that_looks_like_an_address_is_called(admin: httpx.Client, worker: httpx.Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as canary:
        port = canary.getsockname()[1]
        for place in PLACES:
            address = place.replace("{}", str(port))
            admin.post("/v1/plans", json=submission(name=address, architectures={address: ["Conv-3-4"]}, variants=None))
            admin.post("/v1/plans", json=submission(dataset={"name": address}))
            admin.post(
                "/v1/plans", content=f"name: !!python/object {address}", headers={"Content-Type": "application/yaml"}
            )
            admin.post("/v1/tokens", json={"name": address, "scope": "read"})
            admin.get(
                "/v1/experiments", params={"cursor": address}, headers={"Referer": address, "X-Forwarded-Host": address}
            )
            admin.get(f"/v1/presets/{address}")
            worker.put(
                f"/v1/worker/workers/{NOWHERE}",
                json={
                    "name": address,
                    "device": address,
                    "info": {"url": address},
                    "datasets": [DOTS | {"name": address}],
                },
            )
        called, _, _ = select.select([canary], [], [], 0.2)
        assert called == []
    worker.delete(f"/v1/worker/workers/{NOWHERE}")
    assert admin.get("/readyz").json()["ready"]
