import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import cases, nightly

FIGURES = cases.Figures(
    case="R11", size="nightly", seed=1, seconds=1234.5, blows=50, blows_are="stops", experiments=4,
    trials=2000, attempts=2011, lost=3, snapshots=1800, resumed=2, dead_letters=0,
    requests=31_000, statuses={"200": 30_000, "409": 12, "503": 988}, faults={},
    recovery=cases.Spread(50, 0.1, 0.5, 0.75), restarted=None, reclaimed=None,
)  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.jsonl"


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cases that were run; R11 passes and any other fails."""
    names: list[str] = []

    def run(name: str, _size: str, _seed: int) -> cases.Figures:
        names.append(name)
        assert name == "R11", "a trial was lost"
        return FIGURES

    monkeypatch.setattr(cases, "run", run)
    return names


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["nightly", *arguments])
    return nightly.main()


def test_what_has_passed_is_not_run_again(state: Path, played: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(monkeypatch, "R11", "R5", "--state", str(state)) == 1
    assert main(monkeypatch, "R11", "R5", "--state", str(state)) == 1

    assert played == ["R11", "R5", "R5"]
    (line,) = state.read_text().splitlines()
    kept = json.loads(line)
    assert kept["case"] == "R11"
    assert kept["recovery"] == {"count": 50, "p50": 0.1, "p99": 0.5, "max": 0.75}
    assert "cores" in kept["machine"]


def test_the_table_shows_what_was_measured(
    state: Path, played: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(monkeypatch, "R11", "--state", str(state))
    assert played == ["R11"]
    odd = replace(FIGURES, case="R5", blows_are="kills", statuses={"200": 5, "500": 2})
    killed = replace(FIGURES, case="R9", recovery=None, restarted=cases.Spread(200, 4.8, 16.5, 22.7))
    with state.open("a") as file:
        for figures in (odd, killed):
            file.write(json.dumps(figures.document() | {"machine": "another"}) + "\n")

    assert main(monkeypatch, "--table", "--state", str(state)) == 0

    printed = capsys.readouterr().out.splitlines()
    assert "| R11 | 50 stops | 2,000 | 2,011 | 3 | 2 | 0 | 31,000 | 988 | 0 | 1,234 |" in printed
    assert next(row for row in printed if row.startswith("| R5 ")) == (
        "| R5 | 50 kills | 2,000 | 2,011 | 3 | 2 | 0 | 31,000 | 0 | 2 | 1,234 |"
    )
    assert any(row.startswith("| R11 | the end of an outage") and "0.75 s" in row for row in printed)
    assert [row for row in printed if row.startswith("| R9 | the")] == [
        (
            "| R9 | the server's kill, its start included, to the first request that succeeds | 200 "
            "| 4.80 s | 16.50 s | 22.70 s |"
        )
    ], "another moment than that of R11, and so another name"
    assert printed[-1] == "another"


def test_an_unknown_case_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(monkeypatch, "R99")

    assert ended.value.code == 2
    assert "there is no case R99" in capsys.readouterr().err
