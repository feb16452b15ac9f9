"""The table on terminals of different widths."""

import io

from rich.console import Console

from client.rendering.report import render_report
from tests.client.builders import report


def lines(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(render_report(report(), width))
    return captured.get().splitlines()


def test_a_wide_terminal_gets_one_table() -> None:
    shown = lines(220)

    assert sum(line.lstrip().startswith("variant ") for line in shown) == 1
    assert any("memory" in line and "resident" in line and "variant" in line for line in shown)


def test_a_narrow_terminal_gets_several_tables_and_loses_nothing() -> None:
    shown = "\n".join(lines(100))

    assert sum(line.lstrip().startswith("variant ") for line in shown.splitlines()) > 1
    for figure in ("1.0e-1 / 1.0e-6", "0.900 ± 0.020", "2 min 03 s", "3.3 MiB", "391 KiB"):
        assert figure in shown
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 100
