"""Schemathesis over our OpenAPI with every check, against a server on a socket.

``STAGETUNE_FUZZ_EXAMPLES`` raises the number of examples an operation; from 100 on, nothing is abridged.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.invariants import settled_violations
from tests.service.api.conftest import Running
from tests.service.api.helpers import stored, submission

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
include-path-regex = "^/v1/worker/artifacts/"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 413, 422, 429]
"""
# Purging what the others ask for would leave them nothing.
PURGE = """
[[operations]]
include-operation-id = "purge"
parameters."path.experiment" = "00000000-0000-4000-8000-000000000000"
"""
# In CI one document after another that differs in one key: tests/service/api/test_bad_input.py has those. Submissions
# are by far the largest documents to make up, and plans read the same ones: half of the examples are enough.
BRIEF = """
[[operations]]
include-operation-id = "submit"
phases.coverage.enabled = false

[[operations]]
include-operation-id = "plan"
phases.coverage.enabled = false
phases.fuzzing.generation.max-examples = 5
"""


@pytest.mark.fuzz
@pytest.mark.usefixtures("registered")
@pytest.mark.timeout(600 if EXAMPLES < NIGHTLY else 6 * 3600)
def test_what_openapi_says_is_what_the_server_does(
    server: Running, module_database: str, admin: httpx.Client, tmp_path: Path
) -> None:
    experiment = admin.post("/v1/experiments", json=submission()).json()
    admin.post(f"/v1/experiments/{experiment['id']}/cancel")
    digest, _ = stored(server.app)
    # What is there, beside all that the fuzzer makes up; the experiment has ended, and so its stream ends too.
    known = {
        "experiment": experiment["id"],
        "search": experiment["stage_searches"][0]["id"],
        "sha256": digest,
        "name": "paper",
    }
    config = tmp_path / "schemathesis.toml"
    parameters = "".join(f'"path.{name}" = "{value}"\n' for name, value in known.items())
    config.write_text(f"{CONFIG}{PURGE}{BRIEF if EXAMPLES < NIGHTLY else ''}\n[parameters]\n{parameters}")

    token = server.settings.admin_token_file.read_text().strip()
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config),
        "run", f"{server.url}/openapi.json",
        "--header", f"Authorization: Bearer {token}", "--checks", "all", "--continue-on-failure", "--no-color",
        "--max-examples", str(EXAMPLES), "--request-timeout", "60", "--suppress-health-check", "all",
        "--warnings", "off",
    ]  # fmt: skip
    if EXAMPLES < NIGHTLY:
        command += ["--seed", "1", "--no-shrink"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    said = re.sub(r"stagetune_\w+?_[\w-]{20,}", "<token>", ran.stdout + ran.stderr)
    assert ran.returncode == 0, said[-20_000:]
    assert admin.get(f"/v1/experiments/{experiment['id']}").json()["state"] == "cancelled"
    assert settled_violations(module_database) == []
