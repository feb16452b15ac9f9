"""No usable secret is in a dump of the database, in the log, in an address or in the list of processes."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg2
import pytest

from client.local import LocalStack
from client.signals import StopRequests

pytestmark = pytest.mark.e2e

TABLES = (
    "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE schemaname !~ '^(pg_|info)'"
)


def dump(database_url: str) -> str:
    """Every row of every table as text."""
    with contextlib.closing(psycopg2.connect(database_url.replace("+psycopg2", "", 1))) as connection:
        cursor = connection.cursor()
        cursor.execute(TABLES)
        lines: list[str] = []
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT CAST(t.* AS text) FROM {table} t")
            lines += [str(row[0]) for row in cursor.fetchall()]
    return "\n".join(lines)


@pytest.fixture
def served(tmp_path: Path, database_url: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A server that logs all it ever does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STAGETUNE_")}
    environment |= {
        "STAGETUNE_HOME": str(tmp_path), "STAGETUNE_DATABASE_URL": database_url, "STAGETUNE_PORT": "0",
        "STAGETUNE_LOG_LEVEL": "debug",
    }  # fmt: skip
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip().removeprefix("stagetune serves "), process
    finally:
        process.kill()
        process.communicate()


def test_no_secret_is_kept_or_told(
    served: tuple[str, "subprocess.Popen[str]"], tmp_path: Path, database_url: str
) -> None:
    url, process = served
    tokens = {name: (tmp_path / f"{name}-token").read_text().strip() for name in ("admin", "worker")}
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        headers = {"Authorization": f"Bearer {tokens['admin']}"}
        made = client.post("/v1/tokens", json={"name": "r", "scope": "read"}, headers=headers)
        code = client.post("/v1/login-codes", headers=headers).json()
        unspent = client.post("/v1/login-codes", headers=headers).json()["code"]
        assert code["path"].partition("#")[0] == "/login"
        assert client.post("/v1/login", json={"code": code["code"]}).status_code == 204
        secrets = [*tokens.values(), made.json()["token"], code["code"], unspent, client.cookies["stagetune_session"]]
        # Requests that fail in every way, with a secret wherever a client may put one.
        for secret in secrets:
            for path in (f"/v1/experiments/{secret}", f"/v1/experiments?cursor={secret}", f"/v1/artifacts/{secret}"):
                client.get(path, headers={"Authorization": f"Bearer {secret}"})
            client.post("/v1/login", json={"code": secret, "other": secret})
            client.post("/v1/tokens", json={"name": secret[:5], "scope": secret}, headers=headers)
            client.get("/v1/tokens", headers={"Authorization": secret, "Cookie": f"stagetune_session={secret}x"})
    command = Path(f"/proc/{process.pid}/cmdline").read_text() if Path("/proc/self").exists() else ""
    process.terminate()
    process.communicate(timeout=30)
    kept, log = dump(database_url), (tmp_path / "server.log").read_text()
    assert "first admin token" in kept
    for secret in secrets:
        assert secret not in kept
        assert secret not in log
        assert secret not in command


def test_what_is_started_gets_its_token_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGETUNE_TOKEN", "stagetune_admin_of-the-one-who-starts-it")
    monkeypatch.setenv("STAGETUNE_DATABASE_URL", "postgresql://me:database-secret@db/stagetune")
    with StopRequests() as stops:
        stack = LocalStack(tmp_path, "127.0.0.1", 1234, say=print, stops=stops, devices=["cpu"])
        server, worker = stack._server(), stack._worker("cpu")
    assert "--token-file" in worker.command
    for child in (server, worker):
        assert not any("secret" in word or "stagetune_admin" in word for word in child.command)
        assert "STAGETUNE_TOKEN" not in child.environment
    assert "database-secret" not in str(worker.environment)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at /proc")
def test_a_token_on_a_workers_command_line_is_gone_from_the_list_of_processes(tmp_path: Path) -> None:
    secret = "stagetune_worker_given-on-the-command-line"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STAGETUNE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "client", "worker", "--server", "http://127.0.0.1:9", "--token", secret,
         "--home", str(tmp_path), "--device", "cpu"],
        env=environment | {"STAGETUNE_HOME": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        command = Path(f"/proc/{process.pid}/cmdline")
        deadline = time.monotonic() + 60
        while b"-m\0worker" not in command.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert secret.encode() not in command.read_bytes()
    finally:
        process.kill()
        process.wait()
