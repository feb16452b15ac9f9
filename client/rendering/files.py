"""A report as text, CSV and Markdown."""

import csv
import io
import re
from collections.abc import Callable, Iterable

from rich.console import Console

from client.rendering.columns import columns
from client.rendering.grids import Grid, grids, has_phases
from client.rendering.report import heading, remarks, render_report
from client.rendering.text import learning_rate, mean, regularization
from client.variants import label, training_time
from contract.experiments import Interval, Report, StageLine, VariantLine

TEXT_WIDTH = 10_000

CSV_COLUMNS = (
    "phase", "epochs", "architecture", "learning", "state", "stages", "learning_rate", "regularization",
    "training_seconds", "training_seconds_low", "training_seconds_high", "search_seconds", "shared_seconds",
    "training_accuracy", "training_accuracy_low", "training_accuracy_high",
    "validation_accuracy", "validation_accuracy_low", "validation_accuracy_high",
    "test_accuracy", "test_accuracy_low", "test_accuracy_high",
    "memory_bytes", "analytic_memory_bytes", "resident_bytes", "memory_method",
    "label", "budget", "checkpointing", "normalize_cuts", "trials", "trials_per_stage", "fit_seconds",
    "activation_bytes", "stage_validation_accuracy", "head_test_accuracy", "knn_test_accuracy",
    "published_seconds", "published_training_accuracy", "published_validation_accuracy",
    "more_hyperparameters",
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
        paper = line.published
        writer.writerow((
            line.phase + 1, line.epochs, _cell(line.architecture), line.learning, line.state,
            _cell(";".join(stage.stage for stage in line.stages)),
            _joined(line, lambda stage: learning_rate(stage.hyperparameters)),
            _joined(line, lambda stage: regularization(stage.hyperparameters)),
            *_bounds(training_time(line)), line.search_seconds, line.shared_seconds,
            *_bounds(line.training_accuracy), *_bounds(line.validation_accuracy), *_bounds(line.test_accuracy),
            line.memory_bytes, line.analytic_memory_bytes, line.resident_bytes, line.memory_method,
            _cell(label(line)), line.budget, str(line.checkpointing).lower(), str(line.normalize_cuts).lower(),
            line.trials or sum(stage.trials for stage in line.stages),
            ";".join(map(str, line.trials_per_stage or [stage.trials for stage in line.stages])), line.fit_seconds,
            line.activation_bytes, _joined(line, lambda stage: stage.validation_accuracy),
            _joined(line, lambda stage: mean(stage.head_test_accuracy)),
            _joined(line, lambda stage: mean(stage.knn_test_accuracy)),
            *((paper.seconds, paper.training_accuracy, paper.validation_accuracy) if paper else (None,) * 3),
            ";".join(_more(stage) for stage in line.stages),
        ))  # fmt: skip
    return text.getvalue()


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
    return f"**{_markdown(heading(report))}**\n\n" + "\n".join([*tables, listed])


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


def _joined(line: VariantLine, of_stage: Callable[[StageLine], float | None]) -> str:
    values = [of_stage(stage) for stage in line.stages]
    return ";".join("" if value is None else repr(value) for value in values)


def _more(stage: StageLine) -> str:
    """`learning_rate_1=0.01 regularization_1=0.001`: what a scheme adds to a stage's pair."""
    more = stage.hyperparameters.more if stage.hyperparameters else {}
    return " ".join(f"{name}={value!r}" for name, value in more.items())


def _bounds(value: Interval | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if value is None else (value.mean, value.low, value.high)


def _cell(text: str) -> str:
    # Spreadsheets run cells that begin like a formula; names in a report may come from someone else.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~#])", r"\\\1", text).replace("\n", "<br>")
