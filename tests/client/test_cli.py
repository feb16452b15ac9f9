"""The command: what it prints, and the exit statuses scripts rely on."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.exitcodes import ExitCode
from contract.access import AuditEntry, AuditPage, LoginCode, NewToken, TokenView, Version
from contract.experiments import ExperimentPage, PresetView
from contract.problems import Fault
from tests.client.builders import EXPERIMENT, NOON, experiment, identifier, plan, report, search, summary, worker
from tests.client.conftest import REPOSITORY, Cli
from tests.http_server import NO_CONTENT, TOKEN, Answer, FakeServer, problem

ONE = f"GET /v1/experiments/{EXPERIMENT}"
SUBMIT = "POST /v1/experiments"
EVERY_COMMAND = [
    "up", "serve", "worker", "submit", "plan", "watch", "report", "list", "pause", "resume", "cancel", "workers",
    "presets", "token create", "token list", "token revoke", "open", "db upgrade", "db backup", "doctor", "data list",
    "data add", "data fetch", "workers drain", "workers undrain", "retry", "failures", "demo", "schema", "version",
    "tsne", "export", "purge", "audit",
]  # fmt: skip


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_every_command_explains_itself(cli: Cli, name: str) -> None:
    result = cli(*name.split(), "--help")

    assert result.exit_code == 0
    assert "Usage:" in result.stdout


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("invalid-submission", 422, ExitCode.REFUSED),
        ("malformed-body", 400, ExitCode.REFUSED),
        ("conflict", 409, ExitCode.REFUSED),
        ("not-found", 404, ExitCode.NOT_FOUND),
        ("unauthenticated", 401, ExitCode.NOT_AUTHORISED),
        ("forbidden", 403, ExitCode.NOT_AUTHORISED),
        ("database-unavailable", 503, ExitCode.UNREACHABLE),
        ("internal-error", 500, ExitCode.FAILED),
    ],
)
def test_each_problem_has_its_exit_status(cli: Cli, server: FakeServer, kind: str, status: int, code: ExitCode) -> None:
    server.on("GET /v1/workers", problem(status, kind, "this and that"))

    result = cli("workers")

    assert result.exit_code == code
    assert result.stderr == "error: this and that\n"
    assert result.stdout == ""


def test_usage_errors_are_two(cli: Cli) -> None:
    assert cli("sbumit").exit_code == ExitCode.USAGE
    assert cli("list", "--state", "tired").exit_code == ExitCode.USAGE
    assert cli("watch", "no-id").exit_code == ExitCode.USAGE
    assert cli("plan", "absent.yaml").exit_code == ExitCode.USAGE


def test_no_server_is_three_and_says_where_and_what_to_do() -> None:
    result = CliRunner().invoke(app, ["list", "--server", "http://127.0.0.1:1"])

    assert result.exit_code == ExitCode.UNREACHABLE
    assert "http://127.0.0.1:1" in result.stderr
    assert "stagetune up" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_every_fault_stands_on_a_line_with_its_path(cli: Cli, server: FakeServer) -> None:
    faults = [Fault(path="architectures.A[0]", message="an empty stage"), Fault(path="", message="two\x1b[31m")]
    server.on("POST /v1/plans", problem(422, "invalid-submission", "2 mistakes", *faults))

    result = cli("plan", "-", input="name: a")

    assert result.stderr.splitlines() == [
        "error: 2 mistakes",
        "  architectures.A[0]: an empty stage",
        "  submission: two\ufffd[31m",
    ]


def test_a_single_fault_is_said_once(cli: Cli, server: FakeServer) -> None:
    fault = Fault(path="sedes", message="is not a known key: did you mean seeds?")
    server.on("POST /v1/plans", problem(422, "invalid-submission", f"{fault.path}: {fault.message}", fault))

    assert cli("plan", "-", input="sedes: 1").stderr == "error: sedes: is not a known key: did you mean seeds?\n"


def test_a_traceback_is_for_those_who_ask(cli: Cli, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("client.commands.fleet.workers_table", broken)
    server.on("GET /v1/workers", [worker()])

    quiet = cli("workers")
    monkeypatch.setenv("STAGETUNE_DEBUG", "1")
    loud = CliRunner().invoke(app, ["workers"])

    assert quiet.exit_code == loud.exit_code == ExitCode.FAILED
    assert quiet.stderr == "error: unexpected ZeroDivisionError: oops (STAGETUNE_DEBUG=1 shows where)\n"
    assert "Traceback" in loud.stderr


def test_submitting_says_how_to_go_on(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    server.on(SUBMIT, Answer(experiment(), 201))
    path = tmp_path / "a.yaml"
    path.write_text("name: table-1\n")

    result = cli("submit", str(path), "--idempotency-key", "k-1")

    assert result.exit_code == 0
    assert f"table-1 ({EXPERIMENT}) on digits: running" in result.stdout
    assert "stagetune watch 0a1b2c3d" in result.stdout
    assert server.calls[0].headers["idempotency-key"] == "k-1"


def test_a_plan_shows_the_tree_and_what_is_shared(cli: Cli, server: FakeServer) -> None:
    server.on("POST /v1/plans", plan())

    result = cli("plan", "-", input="name: a")

    lines = result.stdout.splitlines()
    assert lines == [line.rstrip() for line in lines]
    assert any(line.startswith("Conv-3-32 Pool-2 ") and "1x8x8" in line and "32x4x4" in line for line in lines)
    assert any(line.startswith("  Conv-3-64  taken over") for line in lines)
    assert "table-1: 2 variants, 2 stage searches instead of 3 without sharing, 1 taken over" in lines
    assert "left to do: 22 trials, 0 fits, 2 evaluations; 1.2 G multiply-adds" in lines
    assert "about 1 min 23 s on the workers now connected" in lines


@pytest.mark.parametrize(
    ("route", "answer", "arguments"),
    [
        ("POST /v1/plans", plan(), ["plan", "-", "--json"]),
        (SUBMIT, experiment(), ["submit", "-", "--json"]),
        ("GET /v1/experiments", ExperimentPage(items=[summary()], next=None), ["list", "--json"]),
        (f"POST /v1/experiments/{EXPERIMENT}/pause", experiment("paused"), ["pause", str(EXPERIMENT), "--json"]),
        (f"POST /v1/experiments/{EXPERIMENT}/resume", experiment(), ["resume", str(EXPERIMENT), "--json"]),
        (f"POST /v1/experiments/{EXPERIMENT}/cancel", experiment("cancelled"), ["cancel", str(EXPERIMENT), "--json"]),
        (ONE + "/report", report(), ["report", str(EXPERIMENT), "--json"]),
        ("GET /v1/workers", [worker()], ["workers", "--json"]),
        ("GET /v1/presets", [PresetView(name="demo", summary="s", text="t")], ["presets", "--json"]),
        ("GET /version", Version(version="1", optuna="5", database="18"), ["version", "--json"]),
    ],
)
def test_json_is_for_programs(cli: Cli, server: FakeServer, route: str, answer: object, arguments: list[str]) -> None:
    server.on(route, answer)  # type: ignore[arg-type]

    result = cli(*arguments, input="name: a")

    assert result.exit_code == 0
    assert json.loads(result.stdout)
    assert result.stderr == ""


def test_heavy_libraries_are_loaded_by_those_who_need_them_alone() -> None:
    code = "import sys, client.cli; print(*{'torch', 'matplotlib', 'numpy', 'fastapi'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)

    assert run.stdout == "\n"


def test_the_schema_needs_no_server() -> None:
    result = CliRunner().invoke(app, ["schema"])

    assert json.loads(result.stdout)["$schema"].endswith("2020-12/schema")


def test_watching_a_pipe_prints_plain_lines_and_ends_with_the_experiment(cli: Cli, server: FakeServer) -> None:
    root, child = "Conv-3-32 Pool-2", "Conv-3-64"
    done = search(root, "decided", finished=11, best_accuracy=0.91234)
    server.on(
        ONE,
        experiment("running", search(root, "open", running=1), search(child, parent=root)),
        experiment("running", done, search(child, "open", parent=root)),
        experiment("finished", done, search(child, "decided", parent=root, finished=11), trials_finished=22),
    )

    result = cli("watch", str(EXPERIMENT), "--interval", "0.1")

    lines = [line[9:] for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [line for line in lines if ":" in line] == [
        "table-1: running",
        "Conv-3-32 Pool-2: open, 1 running",
        "Conv-3-32 Pool-2: decided, best 0.912",
        "Conv-3-64: open",
        "table-1: finished",
        "Conv-3-64: decided",
    ]
    assert "\x1b" not in result.stdout + result.stderr


def test_watching_as_json_prints_a_snapshot_a_line(cli: Cli, server: FakeServer) -> None:
    server.on(ONE, experiment(), experiment("finished"))

    result = cli("watch", str(EXPERIMENT), "--json", "--interval", "0.1")

    assert [json.loads(line)["state"] for line in result.stdout.splitlines()] == ["running", "finished"]
    assert result.stderr == ""


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_an_experiment_that_did_not_finish_is_one(cli: Cli, server: FakeServer, state: str) -> None:
    server.on(ONE, experiment(state))  # type: ignore[arg-type]

    assert cli("watch", str(EXPERIMENT)).exit_code == ExitCode.FAILED


def test_ctrl_c_leaves_the_experiment_running(
    command: Callable[..., subprocess.Popen[str]], server: FakeServer
) -> None:
    server.on(ONE, experiment())
    process = command("watch", str(EXPERIMENT))
    assert process.stdout is not None
    process.stdout.readline()

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)

    assert process.returncode == ExitCode.INTERRUPTED
    assert "the experiment goes on" in errors
    assert {call.method for call in server.calls} == {"GET"}


def test_a_reader_that_leaves_early_is_no_error(
    command: Callable[..., subprocess.Popen[str]], server: FakeServer
) -> None:
    server.on("GET /v1/experiments", ExperimentPage(items=[summary(name="x" * 190)] * 100, next=None))
    process = command("list", "--limit", "1000")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()

    assert process.wait(timeout=20) == ExitCode.OK
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize("format", ["table", "json", "csv", "md", "tex"])
def test_reports_are_printed_or_written(cli: Cli, server: FakeServer, tmp_path: Path, format: str) -> None:  # noqa: A002
    server.on(ONE + "/report", report())
    target = tmp_path / "report"

    printed = cli("report", str(EXPERIMENT), "--format", format)
    written = cli("report", str(EXPERIMENT), "--format", format, "--output", str(target))

    assert printed.exit_code == written.exit_code == 0
    assert "CNN 6" in printed.stdout
    assert written.stdout == ""
    if format == "json":
        assert json.loads(target.read_text()) == json.loads(printed.stdout)
    else:
        assert target.read_text() == printed.stdout


@pytest.mark.parametrize(
    ("table", "start"),
    [
        (None, "phase,epochs,architecture,"),
        ("variants", "phase,epochs,architecture,"),
        ("stages", "phase,label,"),
        ("differences", "phase,comparison,first,second,"),
    ],
)
def test_of_a_reports_tables_csv_holds_the_one_that_is_named(
    cli: Cli, server: FakeServer, table: str | None, start: str
) -> None:
    server.on(ONE + "/report", report())

    printed = cli("report", str(EXPERIMENT), "--format", "csv", *(("--table", table) if table else ()))

    assert printed.exit_code == 0, printed.stderr
    assert printed.stdout.startswith(start)


def test_a_table_that_there_is_not_is_wrong_usage(cli: Cli, server: FakeServer) -> None:
    unknown = cli("report", str(EXPERIMENT), "--format", "csv", "--table", "trials")
    other = cli("report", str(EXPERIMENT), "--format", "md", "--table", "stages")

    assert (unknown.exit_code, other.exit_code) == (ExitCode.USAGE, ExitCode.USAGE)
    assert "'trials' is not one of 'variants', 'stages', 'differences'" in unknown.stderr
    assert other.stderr == "error: --table stages belongs to --format csv; md holds all tables\n"
    assert server.calls == []


def test_a_report_for_people_says_where_to_look_next(cli: Cli, server: FakeServer) -> None:
    server.on(ONE + "/report", report())

    assert f"{server.url}/dashboard" in cli("report", str(EXPERIMENT)).stderr


def test_a_preset_is_printed_to_be_edited(cli: Cli, server: FakeServer) -> None:
    server.on("GET /v1/presets/demo", PresetView(name="demo", summary="", text="name: demo  # [red]\n"))

    assert cli("presets", "demo").stdout == "name: demo  # [red]\n"


def test_a_new_token_is_alone_on_stdout(cli: Cli, server: FakeServer) -> None:
    facts = {"id": identifier("t"), "name": "gpu-box", "scope": "worker", "created_at": NOON, "expires_at": NOON}
    view = TokenView(**facts, revoked_at=None, last_used_at=None)  # type: ignore[arg-type]
    server.on("POST /v1/tokens", Answer(NewToken(**view.model_dump(), token="s3cret"), 201))
    server.on("GET /v1/tokens", [view])
    server.on(f"DELETE /v1/tokens/{view.id}", Answer(status=204))

    assert cli("token", "create", "gpu-box", "--scope", "worker").stdout == "s3cret\n"
    assert "gpu-box" in cli("token", "list").stdout
    assert cli("token", "revoke", str(view.id)[:6]).exit_code == 0
    assert cli("token", "revoke", "zz").exit_code == ExitCode.USAGE


def test_the_login_link_has_its_code_in_the_fragment(cli: Cli, server: FakeServer) -> None:
    server.on("POST /v1/login-codes", Answer(LoginCode(code="c", path="/login#code=c", expires_at=NOON), 201))

    assert cli("open").stdout == f"{server.url}/login#code=c\n"


def test_the_token_is_nowhere_in_what_is_printed(cli: Cli, server: FakeServer) -> None:
    server.on("GET /v1/workers", problem(500, "internal-error", "no"))

    result = cli("workers", "--token", TOKEN)

    assert TOKEN not in result.output


def test_nothing_is_folded_for_programs(cli: Cli, server: FakeServer) -> None:
    name = "an experiment with a rather long name " * 4
    server.on("GET /v1/experiments", ExperimentPage(items=[summary(name=name.strip())], next=None))

    assert name.strip() in cli("list").stdout


def test_the_audit_trail_is_a_table(cli: Cli, server: FakeServer) -> None:
    facts = {"at": NOON, "last_at": NOON, "scope": "admin", "object": "x", "address": "10.0.0.1", "count": 3}
    lines = [
        AuditEntry(id=number, actor=f"me\x1b[31m ({number})", action="purge", outcome="done", **facts)  # type: ignore[arg-type]
        for number in (2, 1)
    ]
    pages = AuditPage(items=lines[:1], next="2"), AuditPage(items=lines[1:], next=None)
    server.on("GET /v1/audit", *pages)

    shown = cli("audit").stdout

    assert "purge" in shown
    assert "\x1b" not in shown
    assert [call.query for call in server.to("GET /v1/audit")] == ["limit=50", "limit=50&cursor=2"]
    assert len(json.loads(cli("audit", "--json", "--limit", "1").stdout)) == 1


def test_purging_asks_where_somebody_can_answer(cli: Cli, server: FakeServer) -> None:
    server.on(f"GET /v1/experiments/{EXPERIMENT}", experiment())
    server.on(f"DELETE /v1/experiments/{EXPERIMENT}", NO_CONTENT)

    refused = cli("purge", str(EXPERIMENT))

    assert refused.exit_code == ExitCode.USAGE
    assert "--yes" in refused.stderr
    assert server.to(f"DELETE /v1/experiments/{EXPERIMENT}") == []
    assert cli("purge", str(EXPERIMENT), "--yes").exit_code == 0
    assert len(server.to(f"DELETE /v1/experiments/{EXPERIMENT}")) == 1


def test_a_token_says_how_long_it_lives(cli: Cli, server: FakeServer) -> None:
    facts = {"id": identifier("t"), "name": "n", "scope": "read", "created_at": NOON, "expires_at": NOON}
    made = NewToken(**facts, revoked_at=None, last_used_at=None, token="s3cret")  # type: ignore[arg-type]
    server.on("POST /v1/tokens", Answer(made, 201))

    assert cli("token", "create", "n", "--scope", "read", "--expires", "12h").exit_code == 0

    assert json.loads(server.calls[-1].body) == {"name": "n", "scope": "read", "expires": "12h"}
