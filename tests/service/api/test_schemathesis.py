"""Schemathesis over our OpenAPI with every check, against a server on a socket.

``STAGETUNE_FUZZ_EXAMPLES`` raises the number of examples an operation; from 100 on, nothing is abridged.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.invariants import rows, settled_violations
from tests.service.api.conftest import Running
from tests.service.api.helpers import DOTS, hold_task, stored, submission

# What is held is held to the end.
SETTINGS = {"lease_seconds": 3600}
EXAMPLES = int(os.environ.get("STAGETUNE_FUZZ_EXAMPLES", "10"))
NIGHTLY = 100
# Documents of the published form may still mean nothing: what they contradict is told with 422.
CONFIG = """
[checks]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 416, 422, 428, 429]

[phases.stateful.inference]
algorithms = ["location-headers"]

[[operations]]
include-path-regex = "^/v1/(plans|tokens|experiments|experiments/.*/(network|embeddings))$"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 413, 422, 429]

[[operations]]
include-path-regex = "^/v1/worker/(artifacts/|tasks/.*/(result|snapshot)$)"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 413, 422, 429]
"""
# Purging what the others ask for would leave them nothing.
PURGE = """
[[operations]]
include-operation-id = "purge"
parameters."path.experiment" = "00000000-0000-4000-8000-000000000000"
"""
# Each has an attempt of its own, so that none ends what another is about: a failure may end a whole search.
OF_AN_ATTEMPT = ("heartbeat", "result", "snapshot", "failure", "release", "upload_artifact")
# Nobody waits for work that does not come.
LEASE = """
[[operations]]
include-operation-id = "lease"
parameters."body.worker" = "{worker}"
parameters."body.wait_seconds" = 0
"""
# Submissions are by far the largest documents to make up, and plans read the same ones: in CI plans alone are asked for
# one document after another that differs in one key, 1,300 of them, and half of the examples are enough beside.
BRIEF = """
[[operations]]
include-operation-id = "submit"
phases.coverage.enabled = false

[[operations]]
include-operation-id = "plan"
phases.fuzzing.generation.max-examples = 5
"""


@pytest.mark.fuzz
@pytest.mark.usefixtures("registered")
@pytest.mark.timeout(900 if EXAMPLES < NIGHTLY else 6 * 3600)
def test_what_openapi_says_is_what_the_server_does(
    server: Running, module_database: str, admin: httpx.Client, tmp_path: Path
) -> None:
    experiment = admin.post("/v1/experiments", json=submission()).json()
    admin.post(f"/v1/experiments/{experiment['id']}/cancel")
    digest, _ = stored(server.app)
    worker = str(uuid4())
    announced = admin.put(f"/v1/worker/workers/{worker}", json={"name": "w2", "device": "cpu", "datasets": [DOTS]})
    assert announced.status_code == 200
    held = {operation: hold_task(admin, admin) for operation in OF_AN_ATTEMPT}
    # What is there, beside all that the fuzzer makes up; the experiment has ended, and so its stream ends too.
    known = {
        "experiment": experiment["id"],
        "search": experiment["stage_searches"][0]["id"],
        "sha256": digest,
        "name": "paper",
        "worker": worker,
    }
    config = tmp_path / "schemathesis.toml"
    parameters = "".join(f'"path.{name}" = "{value}"\n' for name, value in known.items())
    brief = BRIEF if EXAMPLES < NIGHTLY else ""
    config.write_text(f"{CONFIG}{PURGE}{LEASE.format(worker=worker)}{brief}\n[parameters]\n{parameters}")
    described = tmp_path / "openapi.json"
    described.write_text(json.dumps(narrowed(admin.get("/openapi.json").json(), held)))

    token = server.settings.admin_token_file.read_text().strip()
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config),
        "run", str(described), "--url", server.url,
        "--header", f"Authorization: Bearer {token}", "--checks", "all", "--continue-on-failure", "--no-color",
        "--max-examples", str(EXAMPLES), "--request-timeout", "60", "--suppress-health-check", "all",
        "--warnings", "off",
    ]  # fmt: skip
    if EXAMPLES < NIGHTLY:
        command += ["--seed", "1", "--no-shrink"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    said = re.sub(r"stagetune_\w+?_[\w-]{20,}", "<token>", ran.stdout + ran.stderr)
    assert ran.returncode == 0, said[-20_000:]
    tried = re.search(r"Test cases:\s+(\d+) generated", said)
    assert tried is not None, said[-2_000:]
    # For the figures of the full size.
    sys.stdout.write(f"\ntried: {tried[1]}\n")
    assert admin.get(f"/v1/experiments/{experiment['id']}").json()["state"] == "cancelled"
    assert settled_violations(module_database) == []
    # Every body was read, and some of them did what they say.
    query = "SELECT outcome FROM stagetune.attempt WHERE task_id = '{task}' AND n = {attempt}"
    ended = {operation: rows(module_database, query.format(**made))[0][0] for operation, made in held.items()}
    assert ended.pop("failure") in ("failed", "lost")
    assert ended == {
        "heartbeat": None, "snapshot": None, "upload_artifact": None, "result": "accepted", "release": "released",
    }  # fmt: skip
    beats = "SELECT count(*) FROM stagetune.report WHERE task_id = '{task}'"
    assert rows(module_database, beats.format(**held["heartbeat"])) != [(0,)]


def narrowed(document: dict[str, Any], held: dict[str, dict[str, str]]) -> dict[str, Any]:
    """The description, where what an operation calls its task and attempt is one that is held, and nothing else.

    As a configured parameter it would also take the place of what the fuzzer makes wrong on purpose.
    """
    for operation in (operation for operations in document["paths"].values() for operation in operations.values()):
        made = held.get(operation["operationId"], {})
        known = {"task": made.get("task"), "attempt": int(made.get("attempt", 1))}
        for parameter in operation.get("parameters", []) if made else []:
            if parameter["name"] in known:
                parameter["schema"] |= {"enum": [known[parameter["name"]]]}
    return document
