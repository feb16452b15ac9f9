"""A report as text and Markdown."""

import io
import re
from collections.abc import Iterable

from rich.console import Console

from client.rendering.columns import columns
from client.rendering.grids import Grid, grids, has_phases
from client.rendering.report import conditions, heading, remarks, render_report
from client.variants import label
from contract.experiments import Report, VariantLine

TEXT_WIDTH = 10_000


def write_text(report: Report) -> str:
    """The terminal's table without colours, as wide as it needs to be."""
    console = Console(width=TEXT_WIDTH, file=io.StringIO(), color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(render_report(report, TEXT_WIDTH), soft_wrap=True)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def write_markdown(report: Report) -> str:
    """A heading, the tables and the remarks."""
    shown, phases = columns(report), has_phases(report)
    headings = [*(("phase",) if phases else ()), "variant", *(column.heading for column in shown)]
    rows = [
        [*((str(line.phase + 1),) if phases else ()), variant_and_state(line), *(column.cell(line) for column in shown)]
        for line in report.variants
    ]
    tables = [_table(headings, rows, texts=(phases, phases + 1)), *map(_grid, grids(report))]
    listed = "".join(f"- {_markdown(line)}\n" for line in remarks(report))
    under = "<br>\n".join(map(_markdown, conditions(report)))
    return f"**{_markdown(heading(report))}**\n\n{under}\n\n" + "\n".join([*tables, listed])


def variant_and_state(line: VariantLine) -> str:
    """The label, with the state where it is not complete."""
    return label(line) if line.state == "complete" else f"{label(line)} ({line.state})"


def _grid(grid: Grid) -> str:
    return f"**{_markdown(grid.title)}**\n\n" + _table(grid.headings, grid.rows, texts=range(grid.texts))


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]], texts: Iterable[int]) -> str:
    """``texts`` are the numbers of the columns that are words."""
    names = [_markdown(name) for name in headings]
    align = ["---" if number in texts else "---:" for number in range(len(names))]
    lines = [names, align, *([_markdown(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~#])", r"\\\1", text).replace("\n", "<br>")
