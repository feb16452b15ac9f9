"""What the figures of a report show."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from client.rendering.canvas import drawing
from client.rendering.figures import draw_figures
from contract.experiments import Report
from tests.client.rich import gap, line, rich_report


def bars_of(axes: Axes) -> list[ErrorbarContainer]:
    return [item for item in axes.containers if isinstance(item, ErrorbarContainer)]


def test_training_times_have_bars_over_the_seeds_and_memory_has_none() -> None:
    with drawing():
        costs = draw_figures(rich_report(phases=1), 0)[0]
        times, memory = (bars_of(axes) for axes in costs.figure.axes)

    assert costs.name == "costs"
    assert len(times) == len(memory) == 15
    assert {(bars.has_xerr, bars.has_yerr) for bars in times} == {(True, True)}
    assert {(bars.has_xerr, bars.has_yerr) for bars in memory} == {(False, True)}
    line, _, (across, _) = times[0]
    (segment,) = across.get_segments()
    assert line.get_xdata()[0] == 28.5
    assert sorted(point[0] for point in segment) == [27.6, 29.4]


def joined(report: Report) -> list[list[set[tuple[float, float]]]]:
    """The ends of the dotted lines, over time and over memory."""
    with drawing():
        axes = draw_figures(report, 0)[0].figure.axes
        return [
            [{(x, y) for x, y in np.asarray(one.get_xydata())} for one in panel.lines if one.get_linestyle() == ":"]
            for panel in axes
        ]


def test_a_line_joins_each_total_with_the_partial_that_it_is_compared_with() -> None:
    partial, total = line("CNN 6", "partial", 5, 0), line("CNN 6", "total", 5, 0)
    totals = [
        total.model_copy(update={"label": f"CNN 6 total{rule}", "memory_bytes": (60 + 20 * number) * 2**20})
        for number, rule in enumerate(("", ", equal passes", ", equal seconds", ", checkpointed"))
    ]
    plain = gap("CNN 6", 0, -1.0)
    # The one under equal seconds has no difference yet, and the baseline is of another network.
    gaps = [plain.model_copy(update={"total": one.label}) for one in totals if "seconds" not in one.label]
    other = line("CNN 1", "total", 0, 0)

    times, memory = joined(rich_report(phases=1, variants=[other, *totals, partial], gaps=gaps, leads=[]))

    assert partial.test_accuracy
    assert total.test_accuracy
    here, there = (41.25, partial.test_accuracy.mean), total.test_accuracy.mean
    assert memory == [{(size, there), here} for size in (60.0, 80.0, 120.0)]
    assert len(times) == 3


def test_lines_of_another_phase_are_not_drawn() -> None:
    times, memory = joined(rich_report(phases=2))

    assert len(times) == len(memory) == 7
