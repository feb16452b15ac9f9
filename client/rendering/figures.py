"""The figures of a report, drawn with matplotlib: told apart by marker, dash and label, not by colour alone."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from client.rendering.canvas import COLOURS, DASHES, MARKERS
from client.variants import label, training_time
from contract.comparisons import Gap, Lead
from contract.experiments import Interval, Report, VariantLine

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 10.5
ABREAST = 4
LONG_TAIL = 15.0
"""An axis whose largest value is so many times the smallest is logarithmic."""

CAPTIONS = {
    "costs": "Accuracy over training time and over memory. A line joins Total and Partial Learning where the report "
    "compares them; bars are 95 % intervals over seeds.",
    "differences": "Differences in percentage points, each with a 95 % interval of its own. What crosses the line at "
    "zero is within the noise; where many are compared, some others are too: the tables' verdicts are adjusted.",
    "hyperparameters": "Learning rate and regularization from stage to stage.",
    "curves": "Learning curves: validation accuracy of each stage's incumbent over its epochs. Numbers are stages.",
    "search": "The best validation accuracy found so far over the search time, stage after stage.",
    "probes": "Test accuracy of every stage's own head, and of the nearest neighbours on its features.",
}
BASES = " Under the scheme per-layer they are those of the head, under geometric those of the first convolution."


@dataclass(frozen=True)
class Drawn:
    """A figure with what it shows, for a caption."""

    name: str
    caption: str
    figure: "Figure"


def draw_figures(report: Report, phase: int) -> list[Drawn]:
    """The figures of a phase for which there is anything to show; to be called inside ``canvas.drawing``."""
    lines = [line for line in report.variants if line.phase == phase and line.validation_accuracy is not None]
    partial = [line for line in lines if len(line.stages) > 1]
    differences: list[Gap | Lead] = [item for item in report.gaps if item.phase == phase and item.validation]
    differences += [item for item in report.leads if item.phase == phase]
    pairs = [(gap.total, gap.partial) for gap in report.gaps if gap.phase == phase]
    curved = [line for line in lines if any(stage.curve for stage in line.stages)]
    searched = [line for line in lines if any(stage.best_so_far for stage in line.stages)]
    probed = [line for line in partial if any(stage.head_test_accuracy for stage in line.stages)]
    captions = dict(CAPTIONS)
    drawn = {
        "costs": _costs(lines, pairs) if lines else None,
        "differences": _differences(differences) if differences else None,
        "hyperparameters": _hyperparameters(partial) if partial else None,
        "curves": _curves(curved) if curved else None,
        "search": _search(searched) if searched else None,
        "probes": _probes(probed) if probed else None,
    }
    if any(stage.hyperparameters and stage.hyperparameters.more for line in partial for stage in line.stages):
        captions["hyperparameters"] += BASES
    return [Drawn(name, captions[name], figure) for name, figure in drawn.items() if figure is not None]


def _figure(height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDE, height), layout="constrained")


def _best(line: VariantLine) -> Interval | None:
    return line.test_accuracy or line.validation_accuracy


def _costs(lines: Sequence[VariantLine], pairs: Sequence[tuple[str, str]]) -> "Figure":
    """``pairs`` are labels of variants that lines join."""
    figure = _figure(4.6)
    left, right = figure.subplots(1, 2, sharey=True)
    _cost(left, lines, pairs, training_time, "training time (s)")
    _cost(right, lines, pairs, _memory, "memory (MiB)")
    tested = all(line.test_accuracy for line in lines)
    left.set_ylabel("test accuracy" if tested else "test accuracy, or validation where not tested yet")
    # An interval over few seeds may reach beyond what an accuracy can be.
    low, high = left.get_ylim()
    left.set_ylim(max(low, 0), min(high, 1))
    handles, names = left.get_legend_handles_labels()
    # The marker alone: bars would make it a blot.
    figure.legend([handle[0] for handle in handles], names, loc="outside upper center", ncols=2)
    return figure


def _memory(line: VariantLine) -> Interval | None:
    """MiB, of which there is one figure."""
    if line.memory_bytes is None:
        return None
    return Interval(mean=line.memory_bytes / 2**20, low=None, high=None, values=[])


def _cost(
    axes: "Axes",
    lines: Sequence[VariantLine],
    pairs: Sequence[tuple[str, str]],
    cost: Callable[[VariantLine], Interval | None],
    what: str,
) -> None:
    places: dict[str, tuple[float, float]] = {}
    for learning, marker, filled in (("total", "s", True), ("partial", "o", False)):
        name = f"{learning.capitalize()} Learning"
        for line in lines:
            spent, reached = cost(line), _best(line)
            if line.learning != learning or spent is None or not spent.mean or reached is None:
                continue
            value = spent.mean
            places[label(line)] = (value, reached.mean)
            colour = COLOURS[0 if filled else 1]
            axes.errorbar(
                value, reached.mean, xerr=_bars(spent), yerr=_bars(reached), fmt=marker, color=colour, elinewidth=0.8,
                capsize=2, markersize=6, markerfacecolor=colour if filled else "white", label=name,
            )  # fmt: skip
            axes.annotate(_short(line), (value, reached.mean), textcoords="offset points", xytext=(6, 4), fontsize=7.5)
            name = "_"
    for total, partial in pairs:
        if total in places and partial in places:
            joined = zip(places[total], places[partial], strict=True)
            axes.plot(*joined, color="#777777", linewidth=0.8, linestyle=":", zorder=1)
    values = [value for value, _ in places.values()]
    axes.margins(0.14)
    _scale(axes, values)
    axes.set_xlabel(what)


def _differences(items: Sequence[Gap | Lead]) -> "Figure":
    figure = _figure(0.9 + 0.3 * len(items))
    axes = figure.subplots()
    for number, item in enumerate(items):
        shown = (("validation", item.validation, -0.12, "o", "white"), ("test", item.test, 0.12, "s", COLOURS[0]))
        for name, value, shift, marker, face in shown:
            if value is not None:
                axes.errorbar(
                    value.points, number + shift, xerr=[[value.points - value.low], [value.high - value.points]],
                    fmt=marker, color=COLOURS[0], markerfacecolor=face, markersize=5, elinewidth=1, capsize=2.5,
                    label=name if number == 0 else "_",
                )  # fmt: skip
    axes.axvline(0, color="black", linewidth=0.9)
    axes.set_yticks(range(len(items)), [_what(item) for item in items])
    axes.set_ylim(len(items) - 0.4, -0.6)
    axes.set_xlabel("percentage points")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def _what(item: Gap | Lead) -> str:
    pair = f"{item.variant} − {item.against}" if isinstance(item, Lead) else f"{item.total} − {item.partial}"
    return f"{pair}: {item.verdict}"


def _hyperparameters(lines: Sequence[VariantLine]) -> "Figure":
    from matplotlib.ticker import NullFormatter

    figure = _figure(3.9)
    left, right = figure.subplots(1, 2)
    for index, line in enumerate(lines):
        points = [(n, stage.hyperparameters) for n, stage in enumerate(line.stages, start=1) if stage.hyperparameters]
        numbers = [number for number, _ in points]
        style = {**_style(index), "label": label(line)}
        left.plot(numbers, [point.learning_rate for _, point in points], **style)
        right.plot(numbers, [point.regularization for _, point in points], **style)
    most = max(len(line.stages) for line in lines)
    for axes, what in ((left, "learning rate"), (right, "regularization")):
        axes.set(xlabel="stage", ylabel=what, yscale="log", xticks=range(1, most + 1))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5)
    return figure


def _curves(lines: Sequence[VariantLine]) -> "Figure":
    def draw(axes: "Axes", line: VariantLine) -> None:
        for number, stage in enumerate(line.stages, start=1):
            points = [(point.epoch, point.validation_accuracy) for point in stage.curve]
            if points:
                _end_labelled(axes, points, number, str(number))

    return _multiples(lines, draw, "epoch", "validation accuracy")


def _search(lines: Sequence[VariantLine]) -> "Figure":
    def draw(axes: "Axes", line: VariantLine) -> None:
        spent = 0.0
        for number, stage in enumerate(line.stages, start=1):
            points = [
                (spent + best.seconds, best.validation_accuracy)
                for best in stage.best_so_far
                if best.validation_accuracy is not None
            ]
            if points:
                _end_labelled(axes, points, number, str(number), drawstyle="steps-post")
            spent += stage.search_seconds

    return _multiples(lines, draw, "search time (s)", "best validation accuracy")


def _probes(lines: Sequence[VariantLine]) -> "Figure":
    def draw(axes: "Axes", line: VariantLine) -> None:
        numbers = range(1, len(line.stages) + 1)
        heads = [stage.head_test_accuracy for stage in line.stages]
        neighbours = [stage.knn_test_accuracy for stage in line.stages]
        for number, (name, values) in enumerate((("head", heads), ("k-NN", neighbours)), start=1):
            points = [(n, value.mean) for n, value in zip(numbers, values, strict=True) if value is not None]
            if points:
                _end_labelled(axes, points, number, name)
        axes.set_xticks(numbers)

    return _multiples(lines, draw, "stage", "test accuracy", from_zero=False)


def _multiples(
    lines: Sequence[VariantLine],
    draw: Callable[["Axes", VariantLine], None],
    across: str,
    up: str,
    *,
    from_zero: bool = True,
) -> "Figure":
    """A panel a variant, all with one scale of accuracies."""
    rows = math.ceil(len(lines) / ABREAST)
    figure = _figure(2.15 * rows + 0.3)
    panels = figure.subplots(rows, ABREAST, squeeze=False, sharey=True)
    for number, axes in enumerate(panels.flat):
        if number >= len(lines):
            axes.set_axis_off()
            continue
        draw(axes, lines[number])
        axes.set_title(label(lines[number]))
        axes.margins(x=0.18, y=0.12)
        if from_zero:
            _from_zero(axes)
        if number + ABREAST >= len(lines):
            axes.set_xlabel(across)
    figure.supylabel(up, fontsize=9)
    return figure


def _end_labelled(
    axes: "Axes", points: Sequence[tuple[float, float]], number: int, name: str, drawstyle: str = "default"
) -> None:
    """A line with its name at its end; ``number`` picks how it looks."""
    across, up = zip(*points, strict=True)
    style = _style(number - 1)
    if len(points) > ABREAST:
        style |= {"markevery": [len(points) - 1]}
    axes.plot(across, up, drawstyle=drawstyle, **style)
    # Curves of several stages may end in one place.
    right = 5 + (8 * (number - 1) if name.isdigit() else 0)
    axes.annotate(
        name, points[-1], textcoords="offset points", xytext=(right, 0), va="center", fontsize=8, color=style["color"]
    )


def _style(index: int) -> dict[str, Any]:
    return {
        "color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)], "markersize": 4,
        "linestyle": DASHES[index % len(DASHES)],
    }  # fmt: skip


def _bars(value: Interval) -> list[list[float]] | None:
    if value.low is None or value.high is None:
        return None
    return [[value.mean - value.low], [value.high - value.mean]]


def _scale(axes: "Axes", values: Sequence[float]) -> None:
    if values and max(values) > LONG_TAIL * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    elif values:
        _from_zero(axes)


def _from_zero(axes: "Axes") -> None:
    """An axis that starts where there is nothing, with room for a label at its end."""
    axes.autoscale_view()
    axes.set_xlim(0, axes.get_xlim()[1])


def _short(line: VariantLine) -> str:
    """The label without its learning, which the marker shows."""
    return label(line).replace(f" {line.learning}", "", 1)
