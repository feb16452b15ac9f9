"""Plans and lists as tables."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rich import box
from rich.table import Table
from rich.text import Text

from client.console import plain
from client.rendering.text import NOTHING, amount, duration, moment, plural, short
from contract.experiments import DatasetView, Experiment, ExperimentSummary, FailedAttempt, WorkerView
from contract.plans import Plan, PlannedState

T = TypeVar("T")
LONGEST_STAGE = 100
MOST_VARIANTS = 8

PLANNED: dict[PlannedState, str] = {"taken-over": "taken over", "under-way": "under way"}
STATE_STYLES = {
    "running": "cyan", "open": "cyan", "paused": "yellow", "waiting": "dim", "decided": "green", "finished": "green",
    "complete": "green", "failed": "bold red", "dead": "bold red", "infeasible": "bold red", "cancelled": "yellow",
    "online": "green", "draining": "yellow", "offline": "dim",
}  # fmt: skip


def state(name: str) -> Text:
    """A state in its colour."""
    return Text(plain(name), style=STATE_STYLES.get(name, ""))


def table(*columns: str, right: Sequence[str] = (), whole: Sequence[str] = ()) -> Table:
    """An unboxed table; columns named in `right` are numbers, they and those in `whole` are never folded."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for column in columns:
        number = column in right
        made.add_column(
            column, justify="right" if number else "left", no_wrap=number or column in whole, overflow="fold"
        )
    return made


def experiments_table(items: Sequence[ExperimentSummary]) -> Table:
    """The list of experiments."""
    made = table("id", "name", "data set", "state", "created", "variants", "searches", "trials",
                 right=("variants", "searches", "trials"))  # fmt: skip
    for item in items:
        made.add_row(
            short(item.id), plain(item.name), plain(item.dataset), state(item.state), moment(item.created_at),
            str(item.variants), f"{item.searches_decided}/{item.searches}", f"{item.trials_finished}/{item.trials}",
        )  # fmt: skip
    return made


def experiment_lines(item: Experiment) -> str:
    """An experiment in two lines, and what it waits for."""
    return (
        f"{item.name} ({item.id}) on {item.dataset}: {item.state}\n"
        f"{plural(item.variants, 'variant')}, {plural(item.searches, 'search')} ({item.searches_decided} decided), "
        f"{item.trials_finished} of {plural(item.trials, 'trial')} finished"
        + "".join(f"\n{note}" for note in item.notes)
    )


def plan_tree(plan: Plan) -> Table:
    """The prefix tree, a search a line, children indented below the search they stand on."""
    several_phases = len({search.phase for search in plan.searches}) > 1
    made = table(
        *(("phase",) if several_phases else ()),
        "stage search", "trials", "epochs", "in", "out", "parameters", "multiply-adds", "used by",
        right=("trials", "epochs", "in", "out", "parameters", "multiply-adds"),
    )  # fmt: skip
    for search in depth_first(plan.searches, lambda search: search.name, lambda search: search.parent):
        name = Text("  " * search.depth + abridged(plain(search.stage)))
        if search.state != "new":
            name.append(f"  {PLANNED[search.state]}", style="green" if search.state == "taken-over" else "cyan")
        made.add_row(
            *((str(search.phase + 1),) if several_phases else ()),
            name, up_to(search.trials, search.least_trials), str(search.epochs),
            shape(search.input_shape), shape(search.output_shape),
            amount(search.parameters), amount(search.multiply_adds), plain(named(search.used_by)),
        )  # fmt: skip
    return made


def up_to(trials: int, least: int) -> str:
    """A search's trials, with those that are certain where not all are; an older server does not tell them."""
    return f"{least} to {trials}" if 0 < least < trials else str(trials)


def abridged(stage: str) -> str:
    """A stage's notation; of a very long one the first and the last layers, which tell it from its neighbours."""
    if len(stage) <= LONGEST_STAGE:
        return stage
    half = LONGEST_STAGE // 2
    return f"{stage[:half].rpartition(' ')[0]} … {stage[-half:].partition(' ')[2]}"


def named(variants: Sequence[str]) -> str:
    """The first variants by name, the rest by number."""
    more = len(variants) - MOST_VARIANTS
    return ", ".join(variants[:MOST_VARIANTS]) + (f" and {more} more" if more > 0 else "")


def depth_first(items: Sequence[T], key: Callable[[T], object], parent: Callable[[T], object]) -> list[T]:
    """A forest in the order of an outline: every item followed by those that stand on it."""
    known = {key(item) for item in items}
    children: dict[object, list[T]] = {}
    for item in items:
        children.setdefault(parent(item) if parent(item) in known else None, []).append(item)

    def below(above: object) -> Iterator[T]:
        for item in children.get(above, []):
            yield item
            yield from below(key(item))

    return list(below(None))


def plan_summary(plan: Plan) -> str:
    """What a plan amounts to."""
    count = len(plan.searches)
    states = Counter(search.state for search in plan.searches)
    shared = f"{plural(count, 'stage search')} instead of {plan.stage_trainings_without_sharing} without sharing"
    work = [
        plural(plan.trials, "trial"),
        *([plural(plan.range_tests, "range test")] if plan.range_tests else []),
        *([f"up to {plural(plan.confirmations, 'confirmation')}"] if plan.confirmations else []),
        plural(plan.fits, "fit"),
        plural(plan.evaluations, "evaluation"),
    ]
    if plan.least_trials < plan.trials:
        work[0] = f"up to {work[0]}" + (f" ({plan.least_trials} at least)" if plan.least_trials else "")
    uncertain = plan.confirmations > 0 or work[0] != plural(plan.trials, "trial")
    notes = [f"note: {note}" for note in plan.notes]
    lines = [
        f"{plan.name}: {plural(len(plan.variants), 'variant')}, {shared}"
        + "".join(f", {states[known]} {words}" for known, words in PLANNED.items() if states[known])
    ]
    if not any((plan.trials, plan.range_tests, plan.confirmations, plan.fits, plan.evaluations)):
        ended = set(states) == {"taken-over"}
        why = "all of it is taken over" if ended else "the rest stands on what ended without a stage"
        return "\n".join([*lines, f"nothing to do: {why}", *notes])
    lines.append(
        f"{'left to do: ' if len(states) > 1 or 'new' not in states else ''}{', '.join(work)}; "
        f"{'up to ' if uncertain else ''}{amount(plan.multiply_adds)} multiply-adds"
    )
    if plan.estimated_seconds is not None:
        more = plan.most_seconds is not None and plan.most_seconds > plan.estimated_seconds
        longest = f", up to {duration(plan.most_seconds)} with second rounds" if more else ""
        lines.append(f"about {duration(plan.estimated_seconds)} on the workers now connected{longest}")
    return "\n".join([*lines, *notes])


def shape(channels_height_width: tuple[int, int, int]) -> str:
    """C x H x W."""
    return "x".join(str(side) for side in channels_height_width)


def workers_table(workers: Sequence[WorkerView]) -> Table:
    """Workers and what they hold."""
    made = table("name", "device", "state", "leases", "slots", "last seen", "data sets", right=("leases", "slots"))
    for worker in workers:
        made.add_row(
            plain(worker.name), plain(worker.device), state(worker.state), str(worker.leases), str(worker.slots),
            moment(worker.last_seen_at), plain(", ".join(worker.datasets) or NOTHING),
        )  # fmt: skip
    return made


def failures_table(failures: Sequence[FailedAttempt]) -> Table:
    """Failed attempts, and what became of their tasks."""
    made = table("when", "task", "attempt", "worker", "reason", "what happened", "task now", right=("attempt",))
    for item in failures:
        made.add_row(
            moment(item.ended_at), plain(item.label), str(item.attempt), plain(item.worker), item.reason,
            plain((item.message.strip().splitlines() or [NOTHING])[0]), state(item.task_state),
        )  # fmt: skip
    return made


def datasets_table(datasets: Sequence[DatasetView]) -> Table:
    """Data sets of the server."""
    made = table("name", "images", "classes", "train", "test", "workers", "how to get it",
                 right=("classes", "train", "test", "workers"))  # fmt: skip
    for dataset in datasets:
        made.add_row(
            plain(dataset.name), shape(dataset.shape), str(dataset.classes), str(dataset.train), str(dataset.test),
            str(dataset.held_by), plain(dataset.hint),
        )  # fmt: skip
    return made
