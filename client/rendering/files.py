"""A report as CSV, Markdown and LaTeX."""

import csv
import io
import re

from rich.console import Console

from client.rendering.report import (
    ACCURACIES,
    MEMORY,
    TIMES,
    gap_line,
    has_phases,
    heading,
    remarks,
    render_report,
    stage_points,
    variant_name,
)
from client.rendering.text import interval
from contract.experiments import Interval, Report, VariantLine

TEXT_WIDTH = 10_000

CSV_COLUMNS = (
    "phase", "epochs", "architecture", "learning", "state", "stages", "learning_rate", "regularization",
    "training_seconds", "search_seconds", "shared_seconds",
    "training_accuracy", "training_accuracy_low", "training_accuracy_high",
    "validation_accuracy", "validation_accuracy_low", "validation_accuracy_high",
    "test_accuracy", "test_accuracy_low", "test_accuracy_high",
    "memory_bytes", "analytic_memory_bytes", "resident_bytes", "memory_method",
)  # fmt: skip


def write_text(report: Report) -> str:
    """The terminal's table without colours, as wide as it needs to be."""
    console = Console(width=TEXT_WIDTH, file=io.StringIO(), color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(render_report(report, TEXT_WIDTH), soft_wrap=True)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def write_csv(report: Report) -> str:
    """A line per variant in full precision: seconds, bytes, accuracies in [0, 1]; stages are joined by `;`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for line in report.variants:
        points = [stage.hyperparameters for stage in line.stages]
        writer.writerow((
            line.phase + 1, line.epochs, _cell(line.architecture), line.learning, line.state,
            _cell(";".join(stage.stage for stage in line.stages)),
            ";".join("" if point is None else repr(point.learning_rate) for point in points),
            ";".join("" if point is None else repr(point.regularization) for point in points),
            line.training_seconds, line.search_seconds, line.shared_seconds,
            *_bounds(line.training_accuracy), *_bounds(line.validation_accuracy), *_bounds(line.test_accuracy),
            line.memory_bytes, line.analytic_memory_bytes, line.resident_bytes, line.memory_method,
        ))  # fmt: skip
    return text.getvalue()


def write_markdown(report: Report) -> str:
    """A heading, the table and the remarks."""
    columns = (*TIMES, *ACCURACIES, *MEMORY)
    phases = ("phase",) if has_phases(report) else ()
    headings = [*phases, "variant", "lr / regularization per stage", *(column.heading for column in columns)]
    align = ["---:"] * len(phases) + ["---", "---"] + ["---:"] * len(columns)
    rows = [headings, align]
    for line in report.variants:
        cells = [_variant(line), "\n".join(stage_points(line)), *(column.cell(line) for column in columns)]
        rows.append([*((str(line.phase + 1),) if phases else ()), *map(_markdown, cells)])
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    listed = "".join(f"- {_markdown(line)}\n" for line in remarks(report))
    return f"**{_markdown(heading(report))}**\n\n{table}\n{listed}"


def write_latex(report: Report) -> str:
    r"""A `table` environment for booktabs; every stage's hyperparameters on a line of their own."""
    phases = has_phases(report)
    lead = ("Phase",) if phases else ()
    headings = (*lead, "Variant", r"$\eta$", r"$\lambda$", "Training time", "Search time",
                "Training", "Validation", "Test", "Memory", "Analytic", "Resident")  # fmt: skip
    rows = [row for line in report.variants for row in _latex_rows(line, phases)]
    gaps = " ".join(f"{gap_line(gap, named=phases)}." for gap in report.gaps)
    caption = _latex(f"{heading(report)}. {gaps}".strip())
    body = "".join(f"    {' & '.join(row)} \\\\\n" for row in rows)
    return (
        "% \\usepackage{booktabs}\n"
        "\\begin{table}\n"
        "  \\centering\n"
        f"  \\begin{{tabular}}{{{'r' * len(lead)}l{'r' * (len(headings) - len(lead) - 1)}}}\n"
        "    \\toprule\n"
        f"    {' & '.join(headings)} \\\\\n"
        "    \\midrule\n"
        f"{body}"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
        f"  \\caption{{{caption}}}\n"
        "\\end{table}\n"
    )


def _latex_rows(line: VariantLine, phases: bool) -> list[list[str]]:
    figures = [column.cell(line) for column in TIMES]
    accuracies = (line.training_accuracy, line.validation_accuracy, line.test_accuracy)
    figures += [interval(value, "$\\pm$") for value in accuracies]
    figures += [column.cell(line) for column in MEMORY]
    lead = [str(line.phase + 1)] if phases else []
    rows = []
    for index, stage in enumerate(line.stages):
        point = stage.hyperparameters
        numbers = ["--", "--"] if point is None else [_power(point.learning_rate), _power(point.regularization)]
        if index == 0:
            rows.append([*lead, _latex(_variant(line)), *numbers, *("--" if cell == "-" else cell for cell in figures)])
        else:
            rows.append([""] * (len(lead) + 1) + numbers + [""] * len(figures))
    return rows


def _variant(line: VariantLine) -> str:
    return variant_name(line) if line.state == "complete" else f"{variant_name(line)} ({line.state})"


def _bounds(value: Interval | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if value is None else (value.mean, value.low, value.high)


def _cell(text: str) -> str:
    # Spreadsheets run cells that begin like a formula; names in a report may come from someone else.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~#])", r"\\\1", text).replace("\n", "<br>")


_LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
} | {letter: f"\\{letter}" for letter in "&%$#_{}"}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX_ESCAPES.get(letter, letter) for letter in text)


def _power(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"${mantissa} \\cdot 10^{{{int(exponent)}}}$"
