"""Whatever is killed, nothing is lost, nothing counts twice, and the server answers 503 at worst."""

import json
import sys

import pytest

from tests.chaos.cases import CASES, run

# Long enough for a case that hangs on a busy machine to be told from one that is slow.
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(420)]


@pytest.mark.parametrize("name", list(CASES))
def test_chaos(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    figures = run(name, "ci")
    with capsys.disabled():
        sys.stdout.write(f"\n{json.dumps(figures.document())}\n")
    assert figures.blows >= CASES[name].ci.blows
    assert figures.trials >= CASES[name].ci.trials
