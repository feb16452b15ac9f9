"""What failed, told and tried again."""

import json

from client.exitcodes import ExitCode
from contract.experiments import FailedAttempt, Failures, Retried
from tests.client.builders import EXPERIMENT, NOON, identifier
from tests.client.conftest import Cli
from tests.http_server import FakeServer

ROUTE = f"GET /v1/experiments/{EXPERIMENT}/failures"
FAILED = FailedAttempt(
    task=identifier("task"), attempt=3, kind="trial", label="stage 1 trial 4", search=identifier("search"),
    worker="gpu-7", reason="crashed", message="ValueError: [bold]odd[/bold]\nmore", started_at=NOON, ended_at=NOON,
    seconds=1.0, task_state="failed", retryable=True, log="the last line",
)  # fmt: skip


def test_failures_name_worker_reason_and_what_to_do(cli: Cli, server: FakeServer) -> None:
    server.on(ROUTE, Failures(items=[FAILED], total=3, retryable=1))

    result = cli("failures", str(EXPERIMENT), "--log")

    assert result.exit_code == ExitCode.OK, result.stderr
    words = " ".join(result.stdout.split())
    for part in ("gpu-7", "crashed", "[bold]odd[/bold]", "the last line", "2 older ones", "1 task failed for good"):
        assert part in words
    assert f"stagetune retry {str(EXPERIMENT)[:8]}" in words
    assert "log=true" in server.to(ROUTE)[0].query


def test_no_failures_are_good_news(cli: Cli, server: FakeServer) -> None:
    server.on(ROUTE, Failures(items=[], total=0, retryable=0))
    assert cli("failures", str(EXPERIMENT)).stdout == "nothing has failed\n"


def test_a_retry_says_what_it_set_going(cli: Cli, server: FakeServer) -> None:
    route = f"POST /v1/experiments/{EXPERIMENT}/retry"
    server.on(route, Retried(tasks=3, searches=1), Retried(tasks=0, searches=0), Retried(tasks=1, searches=0))
    assert cli("retry", str(EXPERIMENT)).stdout == "3 tasks get another chance; 1 search opened again\n"
    assert "nothing to retry" in cli("retry", str(EXPERIMENT)).stdout
    assert json.loads(cli("retry", str(EXPERIMENT), "--json").stdout) == {"tasks": 1, "searches": 0}
