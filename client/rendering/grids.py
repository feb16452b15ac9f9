"""Tables of text that every format of a report writes in its own way: differences, and the paper's tables."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from client.rendering.text import (
    NOISE_ERRORS,
    NOTHING,
    accuracy,
    learning_rate,
    mean,
    plural,
    regularization,
    scientific,
    signed,
    size,
)
from client.variants import label, training_time
from contract.comparisons import Difference, Gap, Lead, Ratio
from contract.experiments import Published, Report, VariantLine

PAPER, OURS = "paper", "ours"
LEAST_DECIMAL = 1e-5
"""The paper prints six decimals, which of a smaller number leave less than two digits."""


@dataclass(frozen=True)
class Grid:
    """A table; the first ``texts`` columns are words, the others figures. Cells may have several lines."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1


def grids(report: Report) -> list[Grid]:
    """What stands beside the table of variants, where the report has it."""
    found = [_differences(report)] if report.gaps or report.leads else []
    return [*found, *_costs(report), *_memory(report), *_published(report)]


def has_phases(report: Report) -> bool:
    """Whether lines must say which phase they belong to."""
    return len({line.phase for line in report.variants}) > 1


def points(value: Difference | None) -> str:
    """`-1.2 [-2.0, -0.4]`, in percentage points."""
    return NOTHING if value is None else f"{signed(value.points)} [{signed(value.low)}, {signed(value.high)}]"


def chance(value: float | None) -> str:
    """A p-value with two digits."""
    if value is None:
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def _differences(report: Report) -> Grid:
    phases = has_phases(report)
    headings = (*(("phase",) if phases else ()), "difference", "validation", "test", "p", "verdict")
    lines: list[Gap | Lead] = [*report.gaps, *report.leads]
    rows = [(*((str(line.phase + 1),) if phases else ()), *_difference(line)) for line in lines]
    return Grid(
        "Differences in percentage points, with 95 % intervals", headings, tuple(rows), texts=2 if phases else 1
    )


def _difference(line: Gap | Lead) -> tuple[str, ...]:
    if isinstance(line, Lead):
        what = f"{line.variant} − {line.against}"
        return what, points(line.validation), points(line.test), chance(line.adjusted_p_value), line.verdict
    what = f"{line.total} − {line.partial}"
    if line.validation is None:
        # A server of version 0.1 knows the standard error alone.
        test = NOTHING if line.test_points is None else signed(line.test_points)
        return (
            what,
            f"{signed(line.validation_points)} ± {NOISE_ERRORS * line.standard_error_points:.1f}",
            test,
            NOTHING,
            NOTHING,
        )
    return what, points(line.validation), points(line.test), chance(line.adjusted_p_value), line.verdict


def ratio(value: Ratio | None) -> str:
    """`0.98 [0.95, 1.01]`; without an interval where there is one seed."""
    if value is None:
        return NOTHING
    if value.low is None or value.high is None:
        return f"{value.ratio:.2f}"
    return f"{value.ratio:.2f} [{value.low:.2f}, {value.high:.2f}]"


def _costs(report: Report) -> Iterator[Grid]:
    """What went into both sides of every difference; servers of version 0.1 do not say."""
    phases = has_phases(report)
    lines: list[Gap | Lead] = [*report.gaps, *report.leads]
    rows = [(*((str(line.phase + 1),) if phases else ()), *row) for line in lines for row in _cost(line)]
    headings = (*(("phase",) if phases else ()), "first : second", "trials", "passes", "training time", "memory")
    if rows:
        yield Grid(
            "What both sides take: trials and image passes of each, time and memory of the first over the second",
            headings,
            tuple(rows),
            texts=2 if phases else 1,
        )


def _cost(line: Gap | Lead) -> Iterator[tuple[str, ...]]:
    if isinstance(line, Gap):
        what, efforts = f"{line.total} : {line.partial}", (line.total_effort, line.partial_effort)
    else:
        what, efforts = f"{line.variant} : {line.against}", (line.variant_effort, line.against_effort)
    first, second = efforts
    if first is not None and second is not None and line.costs is not None:
        yield (
            what,
            f"{first.trials} : {second.trials}",
            f"{first.passes} : {second.passes}",
            ratio(line.costs.seconds),
            NOTHING if line.costs.memory is None else f"{line.costs.memory:.2f}",
        )


def _memory(report: Report) -> Iterator[Grid]:
    """What each stage takes, where a variant has several; of all kinds that of the variant is the largest."""
    phases = has_phases(report)
    rows = []
    for line in report.variants:
        if len(line.stages) > 1 and line.memory_bytes is not None:
            figures = (
                [size(stage.memory_bytes) for stage in line.stages],
                [size(stage.analytic_memory_bytes) for stage in line.stages],
                [size(stage.activation_bytes) for stage in line.stages],
                [size(stage.resident_bytes) for stage in line.stages],
            )
            notations = "\n".join(stage.stage for stage in line.stages)
            lead = (str(line.phase + 1),) if phases else ()
            rows.append((*lead, label(line), notations, *("\n".join(stages) for stages in figures)))
    if rows:
        yield Grid(
            "Memory of every stage; that of the variant is the largest",
            (*(("phase",) if phases else ()), "variant", "stage", "memory", "analytic", "activations", "resident"),
            tuple(rows),
            texts=3 if phases else 2,
        )


def _published(report: Report) -> Iterator[Grid]:
    """The paper's Tables 2 and 3 in its layout, a column a network, ours below each of its figures.

    Two phases at the same epochs are two tables beside the same published one.
    """
    tables: dict[tuple[int, int], list[tuple[VariantLine, Published]]] = {}
    for line in report.variants:
        if line.published is not None:
            tables.setdefault((line.published.table, line.phase), []).append((line, line.published))
    times = Counter(number for number, _ in tables)
    for (number, phase), pairs in sorted(tables.items()):
        theirs: Sequence[tuple[str, Callable[[Published], str], Callable[[VariantLine], str]]] = (
            ("learning rate", lambda paper: _rates(paper.learning_rates), _learning_rates),
            ("regularization", lambda paper: _rates(paper.regularizations), _regularizations),
            ("time (s)", lambda paper: f"{paper.seconds:.2f}", _seconds),
            ("training accuracy", lambda paper: accuracy(paper.training_accuracy), _training_accuracy),
            ("validation accuracy", lambda paper: accuracy(paper.validation_accuracy), _validation_accuracy),
            ("test accuracy", lambda _: NOTHING, _test_accuracy),
        )
        rows: list[tuple[str, ...]] = []
        for name, of_paper, of_ours in theirs:
            rows.append((name, PAPER, *(of_paper(paper) for _, paper in pairs)))
            rows.append(("", OURS, *(of_ours(line) for line, _ in pairs)))
        epochs = pairs[0][1].epochs
        yield Grid(
            f"Table {number} of the paper ({plural(epochs, 'epoch')}) and ours"
            + (f", phase {phase + 1}" if times[number] > 1 else ""),
            ("result", "", *(label(line) for line, _ in pairs)),
            tuple(rows),
            texts=2,
        )


def _rates(values: Sequence[float]) -> str:
    return "\n".join(map(_rate, values))


def _learning_rates(line: VariantLine) -> str:
    return "\n".join(_rate(learning_rate(stage.hyperparameters)) for stage in line.stages)


def _regularizations(line: VariantLine) -> str:
    return "\n".join(_rate(regularization(stage.hyperparameters)) for stage in line.stages)


def _rate(value: float | None) -> str:
    """As the paper prints it, unless hardly anything would be left of it."""
    if value is None:
        return NOTHING
    return scientific(value) if 0 < value < LEAST_DECIMAL else f"{value:.6f}"


def _seconds(line: VariantLine) -> str:
    seconds = mean(training_time(line))
    return NOTHING if seconds is None else f"{seconds:.2f}"


def _training_accuracy(line: VariantLine) -> str:
    return accuracy(mean(line.training_accuracy))


def _validation_accuracy(line: VariantLine) -> str:
    return accuracy(mean(line.validation_accuracy))


def _test_accuracy(line: VariantLine) -> str:
    return accuracy(mean(line.test_accuracy))
