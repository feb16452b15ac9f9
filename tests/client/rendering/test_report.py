"""The table on terminals of different widths."""

import io

from rich.console import Console

from client.rendering.report import remarks, render_report
from contract.comparisons import Lead
from tests.client.builders import report
from tests.client.rich import difference, rich_report


def lead(seeds: int) -> Lead:
    found = difference(1.0, seeds=seeds)
    return Lead(
        phase=0, variant="A partial", against="A total", validation=found, test=None, adjusted_p_value=0.5,
        verdict="within noise", sentence="",
    )  # fmt: skip


def lines(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(render_report(report(), width))
    return captured.get().splitlines()


def test_remarks_say_what_intervals_rest_on() -> None:
    several = remarks(rich_report(phases=1))
    careful = "at least 95 %, paired over 2 seeds (Student t), or from the number of images, whichever is wider;"
    assert any(f"intervals of differences: {careful}" in text for text in several)

    one = remarks(rich_report(phases=1, gaps=[], leads=[lead(seeds=1)]))

    number = "at least 95 %, from the number of images, for there is one seed;"
    assert any(f"intervals of differences: {number}" in text for text in one)

    tested = lead(seeds=2).model_copy(update={"test": difference(1.0).model_copy(update={"method": "crossed"})})
    both = remarks(rich_report(phases=1, gaps=[], leads=[tested]))

    exact = "95 %, paired over 2 seeds and the test images, where all tests say which were right; else"
    assert any(f"intervals of differences: {exact} {careful}" in text for text in both)


def test_a_wide_terminal_gets_one_table() -> None:
    shown = lines(220)
    # Below it stands what each stage of a variant takes.
    shown = shown[: next(number for number, line in enumerate(shown) if line.startswith("Differences"))]

    assert sum(line.lstrip().startswith("variant ") for line in shown) == 1
    assert any("memory" in line and "resident" in line and "variant" in line for line in shown)


def test_a_narrow_terminal_gets_several_tables_and_loses_nothing() -> None:
    shown = "\n".join(lines(100))

    assert sum(line.lstrip().startswith("variant ") for line in shown.splitlines()) > 1
    for figure in ("1.0e-1 / 1.0e-6", "0.900 ± 0.020", "2 min 03 s", "3.3 MiB", "391 KiB"):
        assert figure in shown
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 100
