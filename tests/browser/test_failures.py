"""What failed is shown with its log, and tried again at a click."""

from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Enter, train
from tests.service.api.helpers import submission

pytestmark = pytest.mark.browser


def test_a_failure_is_read_and_retried(
    enter: Enter, admin: httpx.Client, worker: httpx.Client, registered: str
) -> None:
    made = admin.post("/v1/experiments", json=submission(name="fails", reuse=False)).json()
    ask = {"worker": registered, "request_id": str(uuid4()), "wait_seconds": 20}
    task = worker.post("/v1/worker/leases", json=ask).json()
    told = {"reason": "user-error", "message": "<b>no such file</b>", "log": "line one\nline two"}
    path = f"/v1/worker/tasks/{task['task']}/attempts/{task['attempt']}/failure"
    assert worker.put(path, json=told).json()["state"] == "failed"

    page = enter()
    page.goto(f"/experiments/{made['id']}")
    section = page.locator("#failures")
    expect(section).to_contain_text("<b>no such file</b>")
    expect(section).to_contain_text("user-error")
    section.get_by_text("Log", exact=True).click()
    expect(section.locator("pre")).to_have_text("line one\nline two")

    page.get_by_role("button", name="Retry 1 failed").click()
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    train(worker, registered)
    assert admin.get(f"/v1/experiments/{made['id']}").json()["state"] == "finished"
    failures = admin.get(f"/v1/experiments/{made['id']}/failures").json()
    assert (failures["total"], failures["retryable"], failures["items"][0]["task_state"]) == (1, 0, "done")
