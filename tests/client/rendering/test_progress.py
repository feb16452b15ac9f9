"""Progress bars and progress lines."""

import io

from rich.console import Console

from client.rendering.progress import PlainProgress, live_view, totals, tree_order
from contract.experiments import Experiment, SearchView
from tests.client.builders import experiment, search, worker


def drawn(snapshot: Experiment, height: int = 40, width: int = 120) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    with console.capture() as captured:
        console.print(live_view(snapshot, [worker()], height))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_searches_stand_below_the_ones_they_stand_on() -> None:
    listed = [search("c", parent="b"), search("x"), search("b", parent="a"), search("a"), search("y", parent="x")]

    assert [item.name for item in tree_order(listed)] == ["x", "y", "a", "b", "c"]


def test_a_bar_per_search_with_what_is_known() -> None:
    done = search("Conv-3-32", "decided", finished=11, best_accuracy=0.9123)
    child = search("Conv-3-64", "open", parent="Conv-3-32", finished=3, running=2, failed=1)

    lines = drawn(experiment("running", done, child))

    assert lines[0] == "table-1  running"
    assert lines[1].startswith("Conv-3-32  ")
    assert lines[1].endswith("11/11  decided  best 0.912")
    assert lines[2].startswith("  Conv-3-64  ")
    assert lines[2].endswith("3/11  open     2 running, 1 failed")
    assert lines[3] == "searches 0/2, trials 3/22, evaluations 0/2, 2 running"
    assert lines[4] == "workers: here-cpu (cpu) 1/1"


def test_what_an_experiment_waits_for_stands_below_the_bars() -> None:
    lines = drawn(experiment(notes=["no worker holds cifar10 yet: fetch it"]))

    assert lines[-1] == "no worker holds cifar10 yet: fetch it"


def test_of_too_many_searches_those_under_way_are_shown() -> None:
    def one(index: int) -> SearchView:
        return search(f"stage-{index}", "open" if index >= 90 else "decided")

    lines = drawn(experiment("running", *(one(index) for index in range(100))), height=20)

    assert len(lines) <= 20
    assert sum("open" in line for line in lines) == 10
    assert "and 86 more searches" in lines


def test_names_are_text_and_nothing_else() -> None:
    lines = drawn(experiment("running", search("[red]x[/red] \x1b[31m", "open")))

    assert "[red]x[/red] \ufffd[31m" in lines[1]


def test_totals_leave_out_what_there_is_not() -> None:
    assert totals(experiment(evaluations=0)) == "searches 0/2, trials 3/22"
    assert totals(experiment(fits=4, fits_finished=1)) == "searches 0/2, trials 3/22, fits 1/4, evaluations 0/2"


def test_totals_are_written_now_and_then_and_states_at_once() -> None:
    lines: list[str] = []
    now = 0.0
    progress = PlainProgress(lambda line: lines.append(line[9:]), lambda: now)

    progress.show(experiment(trials_finished=1))
    progress.show(experiment(trials_finished=2))
    progress.show(experiment("paused", trials_finished=2))
    now = 10.0
    progress.show(experiment("paused", trials_finished=4))

    assert lines == [
        "table-1: running",
        "Conv-3-32 Pool-2: open",
        "searches 0/2, trials 1/22, evaluations 0/2",
        "table-1: paused",
        "searches 0/2, trials 4/22, evaluations 0/2",
    ]


def test_what_an_experiment_waits_for_is_written_once_each_time() -> None:
    lines: list[str] = []
    progress = PlainProgress(lambda line: lines.append(line[9:]), lambda: 0.0)
    waiting = experiment(notes=["no worker is connected"])

    for snapshot in (waiting, waiting, experiment(), waiting):
        progress.show(snapshot)

    assert lines.count("no worker is connected") == 2
