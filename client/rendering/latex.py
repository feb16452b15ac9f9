"""A report as LaTeX tables and a list of remarks."""

import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from client.rendering.columns import POINTS, columns
from client.rendering.files import variant_and_state
from client.rendering.grids import grids, has_phases
from client.rendering.report import conditions, heading, remarks
from client.rendering.text import Axis
from contract.experiments import Report, VariantLine


def write_latex(report: Report) -> str:
    r"""A `table` environment for booktabs each, every stage's figures on a line of their own; then the remarks."""
    phases = has_phases(report)
    shown = [column for column in columns(report) if column is not POINTS]
    headings = [
        *(("Phase",) if phases else ()), "Variant", r"$\eta$", r"$\lambda$",
        *(_latex(_capital(column.heading)) for column in shown),
    ]  # fmt: skip
    rows = []
    for line in report.variants:
        lead = [*((str(line.phase + 1),) if phases else ()), _latex(variant_and_state(line))]
        figures = [_latex(column.cell(line)) for column in shown]
        rows += _lines([*lead, *_hyperparameters(line), *figures])
    caption = _latex(". ".join([heading(report), *conditions(report)]))
    tables = [_table(headings, rows, caption, texts=range(phases, phases + 1))]
    for grid in grids(report):
        cells = [line for row in grid.rows for line in _lines([_latex(cell) for cell in row])]
        tables.append(
            _table([_latex(_capital(name)) for name in grid.headings], cells, _latex(grid.title), range(grid.texts))
        )
    return "% \\usepackage{booktabs}\n" + "\n".join([*tables, _list(remarks(report))])


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], caption: str, texts: Iterable[int]) -> str:
    """``texts`` are the numbers of the columns that are words."""
    align = "".join("l" if number in texts else "r" for number in range(len(headings)))
    body = "".join(f"    {_guarded(' & '.join(row))} \\\\\n" for row in rows)
    return (
        "\\begin{table}\n"
        "  \\centering\n"
        f"  \\begin{{tabular}}{{{align}}}\n"
        "    \\toprule\n"
        f"    {' & '.join(headings)} \\\\\n"
        "    \\midrule\n"
        f"{body}"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
        f"  \\caption{{{caption}}}\n"
        "\\end{table}\n"
    )


def _list(lines: Iterable[str]) -> str:
    """A bracket after ``item`` would be read as its label, but for the braces."""
    items = "".join(f"  \\item{{}} {_latex(line)}\n" for line in lines)
    return f"\\begin{{itemize}}\n{items}\\end{{itemize}}\n"


def _guarded(row: str) -> str:
    """After the end of a row LaTeX would take a bracket for its distance to the next, a star for part of the end."""
    return f"{{}}{row}" if row.startswith(("[", "*")) else row


def _capital(heading: str) -> str:
    """A single letter is a symbol, and stays as it is."""
    return heading[:1].upper() + heading[1:] if len(heading) > 1 else heading


def _lines(cells: Sequence[str]) -> list[list[str]]:
    """A row whose cells have several lines as several rows."""
    return [list(line) for line in zip_longest(*(cell.split("\n") for cell in cells), fillvalue="")]


def _hyperparameters(line: VariantLine) -> tuple[str, str]:
    points = [stage.hyperparameters for stage in line.stages]
    return (
        "\n".join("--" if point is None else _axis(Axis.of(point, "learning_rate")) for point in points),
        "\n".join("--" if point is None else _axis(Axis.of(point, "regularization")) for point in points),
    )


_LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "×": r"$\times$",
    "−": "$-$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
} | {letter: f"\\{letter}" for letter in "&%$#_{}"}  # fmt: skip


def _latex(text: str) -> str:
    """A dash alone stands for nothing, several of them stay apart, as in an option's name; lines are kept."""
    return "\n".join("--" if line == "-" else _escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
    return re.sub(r"-(?=-)", "-{}", "".join(_LATEX_ESCAPES.get(letter, letter) for letter in line))


def _axis(axis: Axis) -> str:
    if axis.factor is not None:
        return f"{_power(axis.base)} $\\times {axis.factor:.2g}^k$"
    return ", ".join([*map(_power, axis.layers), f"{'head ' if axis.layers else ''}{_power(axis.base)}"])


def _power(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"${mantissa} \\cdot 10^{{{int(exponent)}}}$"
