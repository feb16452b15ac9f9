"""What tests of the API send."""

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI

from service.api.services import Services
from service.usecases.record_artifact import record_artifact

DOTS = {
    "name": "dots", "digest": "d" * 64, "shape": [1, 8, 8], "classes": 10, "train": 1437, "test": 360,
}  # fmt: skip


def submission(**changes: Any) -> dict[str, Any]:
    """A small valid submission: three searches of three trials."""
    return {
        "name": "small",
        "dataset": {"name": "dots"},
        "architectures": {"CNN 2": ["Conv-3-4", "Conv-3-4 Pool-2"]},
        "variants": [{"architecture": "CNN 2", "learning": "partial"}, {"architecture": "CNN 2", "learning": "total"}],
        "phases": [{"epochs": 1, "trials": 3}],
        "search": {"sampler": "sobol"},
        **changes,
    }


def checkpoint(seed: int = 0) -> tuple[str, bytes]:
    """A checkpoint of one tensor, after its SHA-256."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    data = struct.pack("<Q", len(header)) + header + struct.pack("<f", float(seed))
    return hashlib.sha256(data).hexdigest(), data


def fence(lease: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters by which an upload says whose it is."""
    return {"task": lease["task"], "attempt": lease["attempt"]}


def hold_task(admin: httpx.Client, worker: httpx.Client) -> dict[str, str]:
    """Submit an experiment, announce a worker and lease a task: ``experiment``, ``worker``, ``task``, ``attempt``."""
    name = str(uuid4())
    body = {"name": "w1", "device": "cpu", "slots": 4, "datasets": [DOTS]}
    assert worker.put(f"/v1/worker/workers/{name}", json=body).status_code == 200
    experiment = admin.post("/v1/experiments", json=submission(reuse=False)).json()["id"]
    ask = {"worker": name, "request_id": str(uuid4()), "wait_seconds": 20}
    lease = worker.post("/v1/worker/leases", json=ask).json()
    return {"experiment": experiment, "worker": name, "task": lease["task"], "attempt": str(lease["attempt"])}


def stored(app: FastAPI, seed: int = 0) -> tuple[str, bytes]:
    """A checkpoint that is in the store, whoever has uploaded it."""
    services: Services = app.state.services
    sha256, data = checkpoint(seed)
    with services.artifacts.upload(sha256) as upload:
        upload.write(data)
        record_artifact(services.store, upload)
    return sha256, data


def trained(sha256: str, accuracy: float = 0.5) -> dict[str, Any]:
    """The result of a complete training."""
    return {
        "result": {
            "outcome": "complete",
            "validation_accuracy": accuracy,
            "training_accuracy": accuracy,
            "checkpoint": sha256,
            "epochs": 1,
            "training_seconds": 1.0,
            "feature_seconds": 0.1,
            "evaluation_seconds": 0.1,
            "total_seconds": 1.5,
            "memory": {"peak_bytes": 1000, "method": "test", "analytic_bytes": 900, "resident_bytes": 100},
        }
    }


def evaluated(accuracy: float = 0.5) -> dict[str, Any]:
    """The result of an evaluation."""
    return {"result": {"outcome": "evaluated", "test_accuracy": accuracy, "images": 360, "total_seconds": 0.5}}
