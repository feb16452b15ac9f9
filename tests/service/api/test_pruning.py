"""A trial that falls behind hears so at its next heartbeat."""

from typing import Any
from uuid import uuid4

import httpx

from tests.service.api.helpers import stored, submission, trained


def test_a_trial_below_the_median_is_pruned_over_http(
    admin: httpx.Client, worker: httpx.Client, registered: str, server: Any
) -> None:
    one = {"architectures": {"A": ["Conv-3-4"]}, "variants": None, "phases": [{"epochs": 1, "trials": 6}]}
    experiment = admin.post(
        "/v1/experiments", json=submission(**one, search={"sampler": "sobol", "pruner": "median"})
    ).json()
    sha256, _ = stored(server.app)

    def take() -> tuple[str, dict[str, Any]]:
        body = {"worker": registered, "request_id": str(uuid4()), "wait_seconds": 20}
        task = worker.post("/v1/worker/leases", json=body).json()
        return f"/v1/worker/tasks/{task['task']}/attempts/{task['attempt']}", task

    def measured(accuracy: float, *steps: int) -> list[dict[str, float]]:
        return [{"step": step, "epoch": step / 4, "validation_accuracy": accuracy} for step in steps]

    for _ in range(5):
        place, task = take()
        assert (task["kind"], task["work"]["pruned"]) == ("trial", True)
        result = trained(sha256)
        result["result"]["curve"] = measured(0.5, 1, 2, 3, 4)
        assert worker.put(f"{place}/result", json=result).status_code == 200
    place, _ = take()

    commands = [
        worker.post(f"{place}/heartbeat", json={"reports": measured(0.1, step)}).json()["command"] for step in (1, 2)
    ]

    assert commands == ["continue", "prune"]
    pruned = trained(sha256, 0.1)["result"] | {"outcome": "pruned", "checkpoint": None}
    assert worker.put(f"{place}/result", json={"result": pruned}).status_code == 200
    (search,) = admin.get(f"/v1/experiments/{experiment['id']}").json()["stage_searches"]
    states = [trial["state"] for trial in admin.get(f"/v1/searches/{search['id']}/trials").json()]
    assert states == ["complete"] * 5 + ["pruned"]
