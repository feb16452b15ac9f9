"""Draining over HTTP."""

from uuid import uuid4

import httpx

from tests.service.api.helpers import submission
from tests.service.api.test_worker import attempt, lease


def test_a_worker_is_drained_and_undrained(admin: httpx.Client, worker: httpx.Client, registered: str) -> None:
    made = admin.post("/v1/experiments", json=submission(reuse=False)).json()
    task = lease(worker, registered).json()
    assert admin.post(f"/v1/workers/{registered}/drain").json()["state"] == "draining"

    assert worker.post(f"{attempt(task)}/heartbeat", json={}).json()["command"] == "drain"
    refused = lease(worker, registered)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/draining")
    assert worker.post(f"{attempt(task)}/release").status_code == 204

    assert admin.post(f"/v1/workers/{registered}/undrain").json()["state"] == "online"
    assert lease(worker, registered).status_code == 200
    assert admin.post(f"/v1/workers/{uuid4()}/drain").status_code == 404
    admin.post(f"/v1/experiments/{made['id']}/cancel")
