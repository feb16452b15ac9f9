"""`--no-reuse` of submit and plan: the submission goes out as it stands, the wish beside it."""

from pathlib import Path

import pytest

from contract.experiments import PresetView
from tests.client.builders import experiment, plan
from tests.client.conftest import Cli
from tests.http_server import Answer, FakeServer

TEXT = "name: a # a comment\n"


@pytest.mark.parametrize(("verb", "route"), [("submit", "POST /v1/experiments"), ("plan", "POST /v1/plans")])
@pytest.mark.parametrize("source", ["file", "preset", "stdin"])
def test_nothing_is_reused_from_files_presets_and_stdin_on_request(
    cli: Cli, server: FakeServer, tmp_path: Path, verb: str, route: str, source: str
) -> None:
    server.on("POST /v1/experiments", Answer(experiment(), 201))
    server.on("POST /v1/plans", plan())
    server.on("GET /v1/presets/demo", PresetView(name="demo", summary="", text=TEXT))
    path = tmp_path / "a.yaml"
    path.write_text(TEXT)
    argument = {"file": str(path), "preset": "demo", "stdin": "-"}[source]

    assert cli(verb, argument, "--no-reuse", input=TEXT).exit_code == 0
    assert cli(verb, argument, input=TEXT).exit_code == 0

    wished, plain = server.to(route)
    assert (wished.query, plain.query) == ("reuse=false", "")
    assert wished.body.decode().strip() == plain.body.decode().strip() == TEXT.strip()
