"""The Total versus Partial table for a terminal."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from client.console import plain
from client.rendering.lists import state, table
from client.rendering.text import NOTHING, duration, hyperparameters, interval, plural, short, size
from contract.experiments import Gap, Report, VariantLine


@dataclass(frozen=True)
class Column:
    """A column of figures: its heading and what stands in it."""

    heading: str
    cell: Callable[[VariantLine], str]


TIMES = (
    Column("training time", lambda line: duration(line.training_seconds)),
    Column("search time", lambda line: duration(line.search_seconds)),
)
ACCURACIES = (
    Column("training acc.", lambda line: interval(line.training_accuracy)),
    Column("validation acc.", lambda line: interval(line.validation_accuracy)),
    Column("test acc.", lambda line: interval(line.test_accuracy)),
)
MEMORY = (
    Column("memory", lambda line: size(line.memory_bytes)),
    Column("analytic", lambda line: size(line.analytic_memory_bytes)),
    Column("resident", lambda line: size(line.resident_bytes)),
)
LEGEND = (
    "memory: peak of training, measured; analytic: the same, computed; "
    "resident: data and features, apart. search time: all attempts of all trials."
)


def render_report(report: Report, width: int) -> RenderableType:
    """The table, the gaps and the notes; a table too wide for the terminal becomes two."""
    hyper = Column("lr / regularization per stage", lambda line: "\n".join(stage_points(line)))
    whole = _table(report, hyper, *TIMES, *ACCURACIES, *MEMORY)
    tables: list[RenderableType] = [whole]
    if _natural_width(whole) > width:
        tables = [_table(report, hyper, *ACCURACIES), _table(report, *TIMES, *MEMORY)]
    spaced = [part for table in tables for part in (table, Text())]
    return Group(Text(heading(report), style="bold"), Text(), *spaced, *(Text(line) for line in remarks(report)))


def stage_points(line: VariantLine) -> list[str]:
    """Learning rate / regularization of every stage."""
    return [hyperparameters(stage.hyperparameters) for stage in line.stages]


def variant_name(line: VariantLine) -> str:
    """`CNN 6 partial`."""
    return f"{line.architecture} {line.learning}"


def has_phases(report: Report) -> bool:
    """Whether lines must say which phase they belong to."""
    return len({line.phase for line in report.variants}) > 1


def heading(report: Report) -> str:
    """What was measured, in a line."""
    seeds = plural(len(report.seeds), "seed")
    images = f"{report.train:,} training, {report.validation:,} validation, {report.test:,} test images"
    how = f"{report.preprocessing}; sampler {report.sampler}; {seeds}; {report.state}"
    return f"{plain(report.name)} on {plain(report.dataset)}: {images}; {how}"


def remarks(report: Report) -> list[str]:
    """Gaps, sharing, time and notes as lines."""
    lines = [gap_line(gap, named=has_phases(report)) for gap in report.gaps]
    searches = plural(report.searches, "stage search")
    shared = f"{searches} instead of {report.stage_trainings_without_sharing} without sharing"
    if report.reused_searches:
        shared += f", {report.reused_searches} taken over from earlier experiments"
    lines.append(shared + (f"; {duration(report.wall_seconds)} in all" if report.wall_seconds is not None else ""))
    if report.devices:
        lines.append(f"devices: {plain(', '.join(report.devices))}")
    methods = sorted({line.memory_method for line in report.variants if line.memory_method})
    if methods:
        lines.append(f"memory measured by: {plain(', '.join(methods))}")
    lines.append(LEGEND)
    lines.extend(f"note: {plain(text)}" for text in report.notes)
    return lines


def gap_line(gap: Gap, *, named: bool) -> str:
    """Total minus Partial of a network in words."""
    test = NOTHING if gap.test_points is None else f"{gap.test_points:+.1f}"
    phase = f"phase {gap.phase + 1}: " if named else ""
    return (
        f"{phase}{plain(gap.total)} minus {plain(gap.partial)}: {gap.validation_points:+.1f} points on validation, "
        f"{test} on test (standard error {gap.standard_error_points:.1f})"
    )


def next_steps(report: Report, url: str) -> list[str]:
    """Where to look next."""
    identifier = short(report.experiment)
    return [
        f"stagetune report {identifier} --format csv|md|tex|json   the same for files",
        f"{url}/   every trial on a page, {url}/dashboard   Optuna's own view (`stagetune open` logs you in)",
    ]


def _table(report: Report, *columns: Column) -> Table:
    phases = has_phases(report)
    headings = [_folded(column.heading) for column in columns]
    lead = (*(("phase", "epochs") if phases else ()), "variant", *(("state",) if _unfinished(report) else ()))
    made = table(*lead, *headings, right=("phase", "epochs", *headings), whole=("state",))
    for line in report.variants:
        made.add_row(
            *((str(line.phase + 1), str(line.epochs)) if phases else ()),
            plain(variant_name(line)),
            *((state(line.state),) if _unfinished(report) else ()),
            *(column.cell(line) for column in columns),
        )
    return made


def _folded(heading: str) -> str:
    """The last word or two of a long heading on a second line."""
    for end in (" per stage", " time", " acc."):
        if heading.endswith(end):
            return f"{heading.removesuffix(end)}\n{end.strip()}"
    return heading


def _unfinished(report: Report) -> bool:
    return any(line.state != "complete" for line in report.variants)


def _natural_width(whole: Table) -> int:
    console = Console(width=10_000)
    return console.measure(whole).maximum
