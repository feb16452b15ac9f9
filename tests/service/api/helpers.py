"""What tests of the API send."""

import hashlib
import json
import struct
from typing import Any

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
