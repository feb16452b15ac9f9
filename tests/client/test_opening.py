"""A browser learns a login code from a file, for everybody can read its arguments."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from client.opening import open_link
from contract.access import LoginCode
from tests.client.builders import NOON
from tests.http_server import Answer, FakeServer

Command = Callable[..., "subprocess.Popen[str]"]


def test_a_browser_is_given_a_file_of_the_users_own_and_no_code(
    command: Command, server: FakeServer, environment: dict[str, str], tmp_path: Path
) -> None:
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {seen}\n')
    browser.chmod(0o700)
    environment["BROWSER"] = f"{browser} %s"
    for code in ("first-code", "second-code"):
        made = LoginCode(code=code, path=f"/login#code={code}", expires_at=NOON)
        server.on("POST /v1/login-codes", Answer(made, 201))
        printed, _ = command("open", "--browser").communicate(timeout=60)
        assert printed == f"{server.url}/login#code={code}\n"
        *_, address = seen.read_text().splitlines()
        assert code not in address
        file = Path(unquote(urlsplit(address).path))
        assert address.startswith("file:///")
        assert f"url={server.url}/login#code={code}" in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
    # Nothing is left of those before.
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_without_a_place_for_the_file_no_browser_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webbrowser.open", lambda _: pytest.fail("a browser was started"))
    (tmp_path / "file").write_text("")
    assert not open_link("http://127.0.0.1:8000/login#code=c", tmp_path / "file")
