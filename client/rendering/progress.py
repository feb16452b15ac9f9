"""An experiment while it runs: bars on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from client.console import plain
from client.rendering.lists import depth_first, state
from client.rendering.text import accuracy, plural
from contract.experiments import Experiment, SearchView, WorkerView

ROWS_BESIDE_BARS = 6
QUIET_SECONDS = 5.0


def tree_order(searches: Sequence[SearchView]) -> list[SearchView]:
    """Searches phase by phase, each followed by the ones that stand on it."""
    by_phase = sorted(searches, key=lambda search: search.phase)
    return depth_first(by_phase, lambda search: search.id, lambda search: search.parent)


def live_view(experiment: Experiment, workers: Sequence[WorkerView], height: int) -> RenderableType:
    """A bar per stage search in prefix-tree order; of too many, those that are not over first."""
    searches = tree_order(experiment.stage_searches)
    shown = _most_telling(searches, max(height - ROWS_BESIDE_BARS - len(experiment.notes), 4))
    several_phases = len({search.phase for search in searches}) > 1
    bars = Table.grid(padding=(0, 2))
    for column in range(5):
        bars.add_column(no_wrap=True, justify="right" if column == 2 else "left", overflow="ellipsis")
    for search in shown:
        name = "  " * search.depth + plain(search.stage)
        bars.add_row(
            Text(f"{search.phase + 1}: {name}" if several_phases else name),
            ProgressBar(total=max(search.trials, 1), completed=search.finished, width=24),
            f"{search.finished}/{search.trials}",
            state("reused" if search.reused and search.state == "decided" else search.state),
            Text(_aside(search), style="dim"),
        )
    lines: list[RenderableType] = [Text(f"{plain(experiment.name)}  ", style="bold") + state(experiment.state), bars]
    if hidden := len(searches) - len(shown):
        lines.append(Text(f"and {plural(hidden, 'more search')}", style="dim"))
    lines.append(Text(totals(experiment)))
    if not experiment.notes or any(worker.state == "online" for worker in workers):
        lines.append(Text(_fleet(workers), style="dim"))
    lines.extend(Text(plain(note), style="yellow") for note in experiment.notes)
    return Group(*lines)


def totals(experiment: Experiment) -> str:
    """Progress in one line."""
    parts = [
        f"searches {experiment.searches_decided}/{experiment.searches}",
        f"trials {experiment.trials_finished}/{experiment.trials}",
    ]
    if experiment.fits:
        parts.append(f"fits {experiment.fits_finished}/{experiment.fits}")
    if experiment.evaluations:
        parts.append(f"evaluations {experiment.evaluations_finished}/{experiment.evaluations}")
    if running := sum(search.running for search in experiment.stage_searches):
        parts.append(f"{running} running")
    return ", ".join(parts)


class PlainProgress:
    """Lines for a log: every change of state at once, the totals now and then."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._write = write
        self._clock = clock
        self._states: dict[UUID, str] = {}
        self._experiment_state: str | None = None
        self._totals = ""
        self._notes: list[str] = []
        self._said_at = float("-inf")

    def show(self, experiment: Experiment) -> None:
        """Say what is new in this snapshot."""
        if experiment.state != self._experiment_state:
            self._experiment_state = experiment.state
            self._line(f"{experiment.name}: {experiment.state}")
        for search in tree_order(experiment.stage_searches):
            before = self._states.get(search.id, "waiting")
            self._states[search.id] = search.state
            if search.state != before:
                self._line(f"{search.name}: {search.state}" + (f", {aside}" if (aside := _aside(search)) else ""))
        for note in experiment.notes:
            if note not in self._notes:
                self._line(note)
        self._notes = experiment.notes
        now = totals(experiment)
        if now != self._totals and self._clock() - self._said_at >= QUIET_SECONDS:
            self._totals = now
            self._said_at = self._clock()
            self._line(now)

    def _line(self, text: str) -> None:
        self._write(f"{datetime.now().astimezone():%H:%M:%S} {plain(text)}")


def _most_telling(searches: list[SearchView], rows: int) -> list[SearchView]:
    if len(searches) <= rows:
        return searches
    rank = {"open": 0, "waiting": 1, "dead": 2, "infeasible": 2, "decided": 3, "cancelled": 4}
    by_interest = sorted(range(len(searches)), key=lambda index: (rank[searches[index].state], index))
    return [searches[index] for index in sorted(by_interest[:rows])]


def _aside(search: SearchView) -> str:
    parts = []
    if search.best_accuracy is not None:
        parts.append(f"best {accuracy(search.best_accuracy)}")
    if search.running:
        parts.append(f"{search.running} running")
    if search.failed:
        parts.append(f"{search.failed} failed")
    return ", ".join(parts)


def _fleet(workers: Sequence[WorkerView]) -> str:
    online = [worker for worker in workers if worker.state != "offline"]
    if not online:
        return "no worker is connected: `stagetune worker` starts one"
    return "workers: " + ", ".join(f"{plain(w.name)} ({plain(w.device)}) {w.leases}/{w.slots}" for w in online)
