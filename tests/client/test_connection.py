"""Where server and token come from, and where a token never goes."""

import json
from pathlib import Path

import pytest

from client.connection import DEFAULT_URL, find_connection, normalised_url, stagetune_home
from client.errors import BadUsage


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home in which a server has left its address and token."""
    (tmp_path / "connection.json").write_text(json.dumps({"url": "http://127.0.0.1:8123"}))
    (tmp_path / "admin-token").write_text("local-admin\n")
    return tmp_path


def test_without_anything_the_default_server_is_asked_without_a_token(tmp_path: Path) -> None:
    found = find_connection(environ={"STAGETUNE_HOME": str(tmp_path)})

    assert (found.url, found.token) == (DEFAULT_URL, None)


def test_the_server_on_this_machine_is_found_with_its_token(home: Path) -> None:
    found = find_connection(environ={"STAGETUNE_HOME": str(home)})

    assert (found.url, found.token) == ("http://127.0.0.1:8123", "local-admin")


def test_arguments_win_over_the_environment_and_that_over_files(home: Path, tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.write_text("from-file")
    environ = {"STAGETUNE_HOME": str(home), "STAGETUNE_SERVER": "http://env:1", "STAGETUNE_TOKEN": "from-env"}

    assert find_connection(environ=environ).url == "http://env:1"
    assert find_connection(environ=environ).token == "from-env"
    assert find_connection("http://arg:1", "from-arg", environ=environ).url == "http://arg:1"
    assert find_connection(None, "from-arg", named, environ=environ).token == "from-arg"
    assert find_connection(None, None, named, environ=environ).token == "from-file"


def test_the_local_admin_token_is_not_sent_to_another_server(home: Path) -> None:
    environ = {"STAGETUNE_HOME": str(home)}

    assert find_connection("http://elsewhere:8123", environ=environ).token is None
    assert find_connection("http://127.0.0.1:9999", environ=environ).token is None
    assert find_connection("http://localhost:8123", environ=environ).token == "local-admin"


def test_a_token_does_not_show_in_the_representation() -> None:
    assert "very-secret" not in repr(find_connection("http://here:1", "very-secret", environ={}))


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "http://user:word@host", "http://h:99999", "http://h?q=1", "http://["]
)
def test_what_is_no_server_url_is_refused(url: str) -> None:
    with pytest.raises(BadUsage, match="no server URL"):
        normalised_url(url)


def test_a_bare_host_is_taken_as_http() -> None:
    assert normalised_url("gpu-box:8000/") == "http://gpu-box:8000"


def test_an_unreadable_token_file_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()

    with pytest.raises(BadUsage, match="is empty"):
        find_connection(None, None, empty, environ={})
    with pytest.raises(BadUsage, match="cannot read the token file"):
        find_connection(None, None, tmp_path / "absent", environ={})


def test_home_is_where_the_server_keeps_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    from service.settings import Settings

    assert stagetune_home() == Settings.load().home
    monkeypatch.delenv("STAGETUNE_HOME")
    assert stagetune_home() == Settings.load().home
