"""The chaos cases: who is killed, how often, and what is told of it afterwards.

Each works a load of searches off with a fleet of agents while something is being killed, lets everything come to rest,
and checks the invariants. Nothing here asserts how fast anything was: times are figures, written beside the machine.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from statistics import quantiles
from typing import Any, Literal

from tests.chaos.proxy import HEALTHY, Faults
from tests.chaos.stack import ChaosStack, chaos_stack
from tests.invariants import rows, violations

TICK_SECONDS = 0.05
_LONGEST_SILENCE_SECONDS = 30.0
# On a crowded machine leases of three seconds run out by themselves, and a trial that has the bad luck three times is
# no fault. The full sizes have a machine to themselves, and run with what the product has.
CROWDED_STRIKES = 20


@dataclass(frozen=True)
class Size:
    """When a case is done: so many trials complete and so many blows, whichever comes last. Blows end before trials do.

    Between two blows lie seconds from ``pause``; experiments of the load have ``load`` trials in each of four searches.
    """

    trials: int
    blows: int
    pause: tuple[float, float]
    load: int = 8


@dataclass(frozen=True)
class Case:
    """What is done to which stack.

    With ``steady`` blows go on until all trials are complete, after pauses that are exponential around the lower bound.
    Where workers are ``unharmed`` no lease may be lost. There leases are longer, and where the network lets little
    through for minutes: three that run out are a dead letter. Every blow has to appear in the figure that is ``told``.
    """

    title: str
    blow: Callable[[ChaosStack, Size, int], bool]
    """Strikes, and tells whether it did."""
    ci: Size
    nightly: Size
    servers: int = 1
    through_proxy: bool = False
    steady: bool = False
    unharmed: bool = False
    lease_seconds: float = 3.0
    blows_are: str = "kills"
    told: Literal["recovery", "restarted"] | None = None


@dataclass(frozen=True)
class Spread:
    """Of durations in seconds."""

    count: int
    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Spread | None":
        """Of some durations; None of none."""
        found = sorted(seconds)
        if not found:
            return None
        cuts = quantiles(found, n=100, method="inclusive") if len(found) > 1 else found * 99
        return cls(len(found), *(round(value, 2) for value in (cuts[49], cuts[98], found[-1])))


@dataclass(frozen=True)
class Figures:
    """What a case has to tell; a line of JSON."""

    case: str
    size: str
    seed: int
    seconds: float
    blows: int
    blows_are: str
    experiments: int
    trials: int
    attempts: int
    lost: int
    snapshots: int
    """Attempts that brought a training further than any attempt before, by a snapshot that is at the server."""
    resumed: int
    """Attempts that went on from a snapshot."""
    dead_letters: int
    requests: int
    statuses: dict[str, int]
    faults: dict[str, int]
    recovery: Spread | None
    """Of an outage of PostgreSQL: from its being back to the first request that succeeded."""
    restarted: Spread | None
    """Of a killed server: from the kill, its start included, to the first request that succeeded."""
    reclaimed: Spread | None
    """Of a killed worker's task: from the kill to the next attempt."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


# What the network does to a worker and its server. Half-open connections come last: workers sit in them for a while.
NETWORK = (
    Faults(loss=0.2),
    Faults(delay=(0.3, 0.7)),
    Faults(blackhole=True),
    Faults(reset_after=3_000),
    Faults(repeat=0.5),
    Faults(cut_after=1_500),
    Faults(rate=10_000),
    Faults(half_open=True),
)


def kill_worker(stack: ChaosStack, _size: Size, _number: int) -> bool:
    stack.kill_worker()
    return True


def kill_server(stack: ChaosStack, _size: Size, _number: int) -> bool:
    stack.kill_server()
    return True


def stop_database(stack: ChaosStack, _size: Size, _number: int) -> bool:
    stack.stop_database(stack.chance.uniform(0, 2))
    return True


def kill_everything(stack: ChaosStack, size: Size, number: int) -> bool:
    """Workers as in R5; with every tenth the database as in R11."""
    stack.kill_worker()
    if number % 10 == 4:
        stop_database(stack, size, number)
    return True


def disturb(stack: ChaosStack, size: Size, number: int) -> bool:
    """The next fault; one that lets nothing through lasts half a minute at most."""
    fault = NETWORK[number % len(NETWORK)]
    for proxy in stack.proxies:
        proxy.faults = fault
    if fault.blackhole or fault.half_open:
        time.sleep(min(_LONGEST_SILENCE_SECONDS, size.pause[0]))
        for proxy in stack.proxies:
            proxy.faults = HEALTHY
    return True


def cut_commits(stack: ChaosStack, _size: Size, _number: int) -> bool:
    """Let the next commits end their connection; where nobody works there may be none to cut."""
    proxy = stack.database_proxy
    assert proxy is not None
    before = proxy.done["cut_commit"]
    proxy.faults = Faults(cut_commit=0.3)
    stack.until(lambda: proxy.done["cut_commit"] > before or not _busy(stack), "a commit to be cut")
    proxy.faults = Faults()
    return proxy.done["cut_commit"] > before


CASES = {
    "R5": Case(
        "kill -9 of workers, their process groups",
        kill_worker,
        Size(trials=64, blows=6, pause=(2, 2)),
        Size(trials=2_000, blows=300, pause=(2, 2), load=125),
        steady=True,
    ),
    "R9": Case(
        "kill -9 of the server",
        kill_server,
        Size(trials=32, blows=3, pause=(3, 6)),
        Size(trials=0, blows=200, pause=(5, 20), load=50),
        unharmed=True,
        lease_seconds=12.0,
        told="restarted",
    ),
    "R11": Case(
        "PostgreSQL stopped at once and away for up to two seconds",
        stop_database,
        Size(trials=32, blows=4, pause=(1, 4)),
        Size(trials=0, blows=50, pause=(5, 40), load=125),
        unharmed=True,
        lease_seconds=12.0,
        blows_are="stops",
        told="recovery",
    ),
    "R12": Case(
        "the connection to PostgreSQL cut around a COMMIT",
        cut_commits,
        Size(trials=32, blows=12, pause=(0.2, 0.6)),
        Size(trials=0, blows=500, pause=(0.2, 1), load=50),
        through_proxy=True,
        blows_are="cut commits",
    ),
    "R14": Case(
        "eight faults of the network between workers and server, in turn",
        disturb,
        Size(trials=32, blows=8, pause=(3, 3)),
        Size(trials=0, blows=8, pause=(300, 300), load=125),
        lease_seconds=12.0,
        blows_are="faults",
    ),
    "R19": Case(
        "two servers on one database, with R5 and R11",
        kill_everything,
        Size(trials=48, blows=6, pause=(2, 2)),
        Size(trials=0, blows=300, pause=(2, 2), load=125),
        servers=2,
        steady=True,
    ),
}


def run(name: str, size_name: str, seed: int = 0) -> Figures:
    """Run a case to its end. Raises AssertionError if an invariant does not hold, or an answer was none of ours."""
    case = CASES[name]
    size: Size = getattr(case, size_name)
    began = time.monotonic()
    with chaos_stack(
        seed,
        servers=case.servers,
        through_proxy=case.through_proxy,
        lease_seconds=case.lease_seconds,
        strikes=CROWDED_STRIKES if size_name == "ci" else None,
    ) as stack:
        blows = _beat(stack, case, size)
        stack.settle()
        figures = _figures(stack, name, size_name, seed, blows, time.monotonic() - began)
        found = violations(stack.database_url, stack.home)
        assert found == [], f"{found}\n{stack.logs()}"
        unfinished = stack.count("stagetune.trial WHERE state <> 'complete'")
        assert unfinished == 0, f"{unfinished} trials were lost\n{stack.logs()}"
        if case.steady and size_name == "nightly":
            assert figures.resumed > 0, "of all who were killed nobody left a snapshot to go on from"
        if case.unharmed:
            assert figures.lost == 0, f"{figures.lost} leases were lost, and no worker was harmed\n{stack.logs()}"
        check_told(case, figures)
        assert stack.watch.without_retry_after == 0, "503 without Retry-After"
        odd = {status for status in figures.statuses if status.startswith("5")} - {"503"}
        assert not odd, f"answers {odd}\n{stack.logs()}"
        gone = [worker for worker, process in stack.agents.items() if process.poll() is not None]
        assert gone == [], f"{gone} left by themselves\n{stack.logs()}"
    return figures


def check_told(case: Case, figures: Figures) -> None:
    """AssertionError where a blow is missing in the figure that tells of all of them."""
    if case.told is not None:
        spread: Spread | None = getattr(figures, case.told)
        counted = 0 if spread is None else spread.count
        assert counted == figures.blows, f"{figures.blows} {case.blows_are}, and {counted} in {case.told}"


def _beat(stack: ChaosStack, case: Case, size: Size) -> int:
    """Blow after blow while there is work, until the case is done; the number of blows."""
    blows, due = 0, time.monotonic() + _pause(stack, case, size)
    stack.keep_busy(size.load)
    while blows < size.blows or stack.count("stagetune.trial WHERE state = 'complete'") < size.trials:
        stack.keep_busy(size.load)
        if time.monotonic() >= due and (case.steady or blows < size.blows):
            blows += case.blow(stack, size, blows)
            due = time.monotonic() + _pause(stack, case, size)
        time.sleep(TICK_SECONDS)
    while time.monotonic() < due:
        # The last one has its time too.
        stack.keep_busy(size.load)
        time.sleep(TICK_SECONDS)
    return blows


def _pause(stack: ChaosStack, case: Case, size: Size) -> float:
    return stack.chance.expovariate(1 / size.pause[0]) if case.steady else stack.chance.uniform(*size.pause)


def _busy(stack: ChaosStack) -> bool:
    return bool(stack.count("stagetune.experiment WHERE state = 'running'"))


def _figures(stack: ChaosStack, name: str, size: str, seed: int, blows: int, seconds: float) -> Figures:
    statuses = sum((proxy.statuses for proxy in stack.proxies), start=Counter(stack.watch.statuses))
    proxies = [*stack.proxies, *([stack.database_proxy] if stack.database_proxy else [])]
    faults = sum((proxy.done for proxy in proxies), start=Counter[str]())
    last = max([*stack.returns, *stack.server_kills], default=0.0)
    stack.until(lambda: stack.watch.answered_after(last) is not None, "an answer after the last outage")
    return Figures(
        case=name,
        size=size,
        seed=seed,
        seconds=round(seconds, 1),
        blows=blows,
        blows_are=CASES[name].blows_are,
        experiments=stack.submitted,
        trials=stack.count("stagetune.trial WHERE state = 'complete'"),
        attempts=stack.count("stagetune.attempt"),
        lost=stack.count("stagetune.attempt WHERE outcome = 'lost'"),
        snapshots=stack.count("stagetune.attempt WHERE progressed"),
        resumed=stack.resumed,
        dead_letters=stack.count("stagetune.task WHERE state = 'failed'"),
        requests=sum(statuses.values()),
        statuses={str(status): number for status, number in sorted(statuses.items())},
        faults=dict(sorted(faults.items())),
        recovery=Spread.of(stack.watch.seconds_after(stack.returns)),
        restarted=Spread.of(stack.watch.seconds_after(stack.server_kills)),
        reclaimed=Spread.of(_reclaimed(stack)),
    )


def _reclaimed(stack: ChaosStack) -> Iterable[float]:
    """Seconds from each kill of a worker that held a task to the next attempt at that task."""
    query = """
        SELECT w.name, a.ended_at, b.started_at FROM stagetune.attempt a JOIN stagetune.worker w ON w.id = a.worker_id
        JOIN stagetune.attempt b ON b.task_id = a.task_id AND b.n = a.n + 1 WHERE a.outcome = 'lost'
    """
    for name, lost, again in rows(stack.database_url, query):
        killed = stack.killed.get(str(name))
        assert isinstance(lost, datetime)
        assert isinstance(again, datetime)
        # A lease that had run out before its worker was killed is none that the kill cost.
        if killed is not None and lost > killed:
            yield (again - killed).total_seconds()
