"""Whatever is killed, nothing is lost, nothing counts twice, and the server answers 503 at worst."""

import json
import sys
from dataclasses import replace

import pytest

from tests.chaos.cases import CASES, Spread, check_told, run
from tests.chaos.stack import Watch
from tests.chaos.test_nightly import FIGURES

# Long enough for a case that hangs on a busy machine to be told from one that is slow.
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(420)]


@pytest.mark.parametrize("name", list(CASES))
def test_chaos(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    figures = run(name, "ci")
    with capsys.disabled():
        sys.stdout.write(f"\n{json.dumps(figures.document())}\n")
    assert figures.blows >= CASES[name].ci.blows
    assert figures.trials >= CASES[name].ci.trials


@pytest.mark.parametrize("counted", [None, Spread(49, 0.1, 0.5, 0.75), Spread(51, 0.1, 0.5, 0.75)])
def test_every_outage_has_to_be_told(counted: Spread | None) -> None:
    check_told(CASES["R11"], FIGURES)
    check_told(CASES["R5"], replace(FIGURES, recovery=counted))
    with pytest.raises(AssertionError, match="50 stops"):
        check_told(CASES["R11"], replace(FIGURES, recovery=counted))
    with pytest.raises(AssertionError, match="0 in restarted"):
        check_told(CASES["R9"], FIGURES)


def test_an_outage_that_nothing_succeeded_after_is_no_recovery() -> None:
    watch = Watch("http://127.0.0.1:1", "none", [(1.0, 200), (2.0, 503), (3.0, None), (4.5, 200)])
    watch.close()
    assert watch.seconds_after([0.5, 1.5]) == [0.5, 3.0]
    with pytest.raises(AssertionError, match="no request succeeded"):
        watch.seconds_after([1.5, 5.0])
