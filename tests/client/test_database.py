"""db: a database that cannot be used is told in one line and with a documented exit status."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from client.exitcodes import ExitCode


def upgrade() -> Result:
    return CliRunner().invoke(app, ["db", "upgrade"])


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://x", "STAGETUNE_DATABASE_URL: only PostgreSQL works: postgresql://user@host:5432/name"),
        ("postgresql://me@here:many/name", "STAGETUNE_DATABASE_URL: its host or port cannot be read"),
    ],
)
def test_a_url_that_cannot_be_meant_is_wrong_usage(monkeypatch: pytest.MonkeyPatch, url: str, told: str) -> None:
    monkeypatch.setenv("STAGETUNE_DATABASE_URL", url)

    result = upgrade()

    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.startswith(f"error: {told}")
    assert len(result.stderr.splitlines()) == 1


def test_a_password_file_that_the_url_contradicts_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STAGETUNE_DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/name")
    monkeypatch.setenv("STAGETUNE_DATABASE_PASSWORD_FILE", str(tmp_path / "password"))

    result = upgrade()

    assert result.exit_code == ExitCode.USAGE
    assert "secret" not in result.stderr


def test_a_database_that_does_not_answer_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGETUNE_DATABASE_URL", "postgresql://me@127.0.0.1:1/name")

    result = upgrade()

    assert result.exit_code == ExitCode.UNREACHABLE
    assert result.stderr.startswith("error: the database does not answer (connection to server at")
    assert "start it, or mend STAGETUNE_DATABASE_URL" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_database_of_ones_own_is_not_dumped_by_us(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STAGETUNE_DATABASE_URL", "postgresql://me@127.0.0.1:1/name")

    result = CliRunner().invoke(app, ["db", "backup", str(tmp_path / "dump")])

    assert result.exit_code == ExitCode.USAGE
    assert "use its own pg_dump" in result.stderr


def test_the_schema_is_brought_to_this_version(monkeypatch: pytest.MonkeyPatch, empty_database_url: str) -> None:
    monkeypatch.setenv("STAGETUNE_DATABASE_URL", empty_database_url)

    first, second = upgrade(), upgrade()

    assert first.exit_code == second.exit_code == ExitCode.OK
    assert "(before: empty)" in first.stdout
    assert second.stdout == first.stdout.replace(" (before: empty)", "")
