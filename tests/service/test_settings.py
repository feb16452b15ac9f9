from pathlib import Path

import pytest

from service.settings import Settings, SettingsError


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("STAGETUNE_"):
            monkeypatch.delenv(name)


def test_environment_is_read_and_token_files_follow_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("STAGETUNE_HOME", str(home))
    monkeypatch.setenv("STAGETUNE_PORT", "9000")
    monkeypatch.setenv("STAGETUNE_ALLOWED_HOSTS", "Tune.example.org, 10.0.0.7")
    settings = Settings.load()
    assert settings.port == 9000
    assert settings.admin_token_file == home / "admin-token"
    assert settings.worker_token_file == home / "worker-token"
    assert settings.allowed_hosts == ("tune.example.org", "10.0.0.7")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("STAGETUNE_PORT", "eighty", "STAGETUNE_PORT"),
        ("STAGETUNE_PORT", "70000", "STAGETUNE_PORT"),
        ("STAGETUNE_LOG_FORMAT", "xml", "STAGETUNE_LOG_FORMAT"),
        ("STAGETUNE_DATABASE_URL", "sqlite:///x", "only PostgreSQL"),
        ("STAGETUNE_DATABASE_URL", "postgresql://me@host:port/x", "STAGETUNE_DATABASE_URL: its host or port"),
        ("STAGETUNE_DATABASE_URL", "postgresql://me@[::bad/x", "STAGETUNE_DATABASE_URL: its host or port"),
        ("STAGETUNE_HOST", "0.0.0.0", "STAGETUNE_ALLOW_REMOTE=1"),  # noqa: S104
        ("STAGETUNE_TLS_KEY", "/nowhere/key.pem", "need each other"),
        ("STAGETUNE_ARTIFACT_GRACE_SECONDS", "0", "STAGETUNE_ARTIFACT_GRACE_SECONDS"),
        ("STAGETUNE_LEASE_SECONDS", "12", "STAGETUNE_HEARTBEAT_SECONDS"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=told) as caught:
        Settings.load()
    assert "\n" not in str(caught.value)


def test_a_remote_host_needs_to_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGETUNE_ALLOW_REMOTE", "1")
    assert Settings.load(host="0.0.0.0").host == "0.0.0.0"  # noqa: S104


def test_a_remote_host_may_be_reached_over_tls(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("x")
    settings = Settings.load(
        host="0.0.0.0",  # noqa: S104
        tls_certificate=tmp_path / "cert.pem",
        tls_key=tmp_path / "key.pem",
    )
    assert settings.scheme == "https"
    with pytest.raises(SettingsError, match=r"STAGETUNE_TLS_KEY is .*cannot be read"):
        Settings.load(tls_certificate=tmp_path / "cert.pem", tls_key=tmp_path / "other.pem")


@pytest.mark.parametrize("password", ["", "postgres", "changeme", "Password"])
def test_nobody_opens_up_with_a_password_that_everybody_knows(password: str) -> None:
    url = f"postgresql://me:{password}@db/stagetune"
    Settings.load(database_url=url)
    with pytest.raises(SettingsError, match="password of its own") as caught:
        Settings.load(database_url=url, host="0.0.0.0", allow_remote=True)  # noqa: S104
    assert url not in str(caught.value)
    Settings.load(database_url="postgresql://me:Xk2-long@db/s", host="0.0.0.0", allow_remote=True)  # noqa: S104


@pytest.mark.parametrize(
    ("url", "file", "variable"),
    [
        ("postgresql://me:post%67res@db/s", None, None),
        ("postgresql://me:%63hangeme@db/s", None, None),
        ("postgresql://me@db/s?password=postgres", None, None),
        ("postgresql://me:Xk2-long@db/s?application_name=a&password=%70ostgres", None, None),
        ("postgresql:///s?host=db&user=me&password=", None, None),
        ("postgresql://me@db/s", "postgres\n", None),
        ("postgresql://me@db/s", "", None),
        ("postgresql://me@db/s", None, "postgres"),
    ],
)
def test_such_a_password_is_seen_wherever_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, file: str | None, variable: str | None
) -> None:
    given: dict[str, object] = {"database_url": url}
    if file is not None:
        (tmp_path / "password").write_text(file)
        given["database_password_file"] = tmp_path / "password"
    if variable is not None:
        monkeypatch.setenv("PGPASSWORD", variable)
    Settings.load(**given)
    with pytest.raises(SettingsError, match="password of its own"):
        Settings.load(**given, host="0.0.0.0", allow_remote=True)  # noqa: S104


def test_a_password_of_its_own_in_a_file_opens_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGPASSWORD", "postgres")  # which nobody asks for then
    (tmp_path / "password").write_text("Xk2-long\n")
    given = {"database_url": "postgresql://me@db/s", "host": "0.0.0.0", "allow_remote": True}  # noqa: S104
    Settings.load(**given, database_password_file=tmp_path / "password")
    with pytest.raises(SettingsError, match=r"STAGETUNE_DATABASE_PASSWORD_FILE is .*cannot be read"):
        Settings.load(**given, database_password_file=tmp_path / "missing")


def test_the_database_url_never_shows() -> None:
    settings = Settings.load(database_url="postgresql://me:secret@db/stagetune")
    assert "secret" not in repr(settings)
