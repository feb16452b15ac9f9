"""The Total versus Partial table for a terminal."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from client.console import plain
from client.rendering.columns import Column, column_groups, packed
from client.rendering.grids import Grid, grids, has_phases
from client.rendering.lists import state, table
from client.rendering.text import duration, layers_legend, plural, short
from client.variants import label
from contract.experiments import Report

LEGEND = (
    "memory: peak of training, measured; analytic: the same, computed; "
    "resident: data and features, apart. training time: all stages and, once, their inputs, mean over the seeds. "
    "search time: all attempts of all trials."
)


def render_report(report: Report, width: int) -> RenderableType:
    """The tables and the remarks; a table too wide for the terminal becomes several."""

    def fits(columns: Sequence[Column]) -> bool:
        return _natural_width(_table(report, columns)) <= width

    shown: list[RenderableType] = [_table(report, columns) for columns in packed(column_groups(report), fits)]
    spaced = [part for one in shown for part in (one, Text())]
    beside = [part for grid in grids(report) for part in (Text(grid.title, style="bold"), _grid(grid), Text())]
    under = [Text(line, style="dim") for line in conditions(report)]
    return Group(Text(heading(report), style="bold"), *under, Text(), *spaced, *beside, *map(Text, remarks(report)))


def heading(report: Report) -> str:
    """What was measured, in a line."""
    seeds = plural(len(report.seeds), "seed")
    images = f"{report.train:,} training, {report.validation:,} validation, {report.test:,} test images"
    how = f"{report.preprocessing}; {seeds}; {report.state}"
    return f"{plain(report.name)} on {plain(report.dataset)}: {images}; {how}"


def conditions(report: Report) -> list[str]:
    """Under which recipe and search all of it was made, a line each; servers of version 0.1 only name the sampler."""
    return [plain(line) for line in report.conditions] or [f"search: sampler {plain(report.sampler)}"]


def remarks(report: Report) -> list[str]:
    """Budgets, what the differences rest on, trends, sharing, where it ran and notes as lines."""
    lines = [*map(plain, report.budgets), *_methods(report), *(plain(trend.sentence) for trend in report.trends)]
    searches = plural(report.searches, "stage search")
    shared = f"{searches} instead of {report.stage_trainings_without_sharing} without sharing"
    if report.reused_searches:
        shared += f", {report.reused_searches} taken over from earlier experiments"
    if report.shared_searches:
        shared += f", {report.shared_searches} shared with experiments that were under way"
    lines.append(shared + (f"; {duration(report.wall_seconds)} in all" if report.wall_seconds is not None else ""))
    if report.devices:
        lines.append(f"devices: {plain('; '.join(report.devices))}")
    methods = sorted({line.memory_method for line in report.variants if line.memory_method})
    if methods:
        lines.append(f"memory measured by: {plain(', '.join(methods))}")
    lines += layers_legend(stage.hyperparameters for line in report.variants for stage in line.stages)
    lines.append(LEGEND)
    lines.extend(f"note: {plain(text)}" for text in report.notes)
    return lines


def _methods(report: Report) -> list[str]:
    """How the intervals of the differences were made, and what corrects the p-values."""
    pairs = [(line.validation, line.test) for line in report.gaps] + [
        (line.validation, line.test) for line in report.leads
    ]
    told = [value for pair in pairs for value in pair if value is not None]
    if not told:
        return []
    crossed = [value.seeds for value in told if value.method.startswith("crossed")]
    others = [value.seeds for value in told if not value.method.startswith("crossed")]
    used = []
    if crossed:
        seeds = f"{max(crossed)} seeds and " if max(crossed) > 1 else ""
        used.append(f"95 %, paired over {seeds}the test images, where all tests say which were right")
    if others:
        how = "from the number of images, for there is one seed"
        if max(others) > 1:
            how = f"paired over {max(others)} seeds (Student t), or from the number of images, whichever is wider"
        used.append(f"at least 95 %, {how}")
    bounds = "; else ".join(used)
    holm = f", Holm over {report.comparisons} comparisons" if report.comparisons > 1 else ""
    return [f"intervals of differences: {bounds}; p: of no difference{holm}"]


def next_steps(report: Report, url: str) -> list[str]:
    """Where to look next."""
    identifier = short(report.experiment)
    return [
        f"stagetune report {identifier} --format html -o report.html   with figures; also csv, md, tex, json",
        f"{url}/   every trial on a page, {url}/dashboard   Optuna's own view (`stagetune open` logs you in)",
    ]


def _table(report: Report, columns: Sequence[Column]) -> Table:
    phases = has_phases(report)
    headings = [_folded(column.heading) for column in columns]
    lead = (*(("phase", "epochs") if phases else ()), "variant", *(("state",) if _unfinished(report) else ()))
    made = table(*lead, *headings, right=("phase", "epochs", *headings), whole=("state",))
    for line in report.variants:
        made.add_row(
            *((str(line.phase + 1), str(line.epochs)) if phases else ()),
            plain(label(line)),
            *((state(line.state),) if _unfinished(report) else ()),
            *(column.cell(line) for column in columns),
        )
    return made


def _grid(grid: Grid) -> Table:
    made = table(*map(plain, grid.headings), right=[plain(name) for name in grid.headings[grid.texts :]])
    for row in grid.rows:
        made.add_row(*map(plain, row))
    return made


def _folded(heading: str) -> str:
    """The last word or two of a long heading on a second line."""
    for end in (" per stage", " time", " test acc.", " acc."):
        if heading.endswith(end):
            return f"{heading.removesuffix(end)}\n{end.strip()}"
    return heading


def _unfinished(report: Report) -> bool:
    return any(line.state != "complete" for line in report.variants)


def _natural_width(whole: Table) -> int:
    console = Console(width=10_000)
    return console.measure(whole).maximum
