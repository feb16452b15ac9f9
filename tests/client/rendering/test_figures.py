"""What the figures of a report show."""

from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from client.rendering.canvas import drawing
from client.rendering.figures import draw_figures
from tests.client.rich import rich_report


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
