"""How far ahead of the workers trials are suggested: enough to keep them busy, and no guess that can wait."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil


@dataclass(frozen=True, slots=True)
class OpenSearch:
    """An open search of a running experiment whose data set a live worker holds.

    ``asked`` trials were suggested of ``budget``, ``pending`` of them are not finished. Suggestions with an ordinal
    below ``blind`` do not learn from results (start points, Sobol points), so nothing is lost by asking them early.
    Of several experiments that stand on it, ``experiment`` is the one with the highest ``priority``.
    """

    key: str
    budget: int
    asked: int
    pending: int
    blind: int = 0
    experiment: str = ""
    priority: int = 0


def affordable(budget: int, finished: int, seconds: float | None, spent: float) -> int:
    """How many trials, pending ones included, a search may have that has ``spent`` some of its ``seconds``.

    Those that are not finished are taken to cost what the finished ones did, and there is always one. No more of them
    are under way than have finished: of the first nothing is known, and a cheap one, which may have diverged at once,
    must not let a large fleet spend the seconds many times over. Without ``seconds`` to spend it is the ``budget``,
    which bounds the others too.
    """
    if seconds is None:
        return budget
    if spent >= seconds:
        return max(finished, 1)
    ahead = max(finished, 1)
    if finished and spent:
        # In this order: next to nothing spent makes more trials than a whole number can count.
        ahead = ceil(min(ahead, (seconds - spent) * finished / spent))
    return min(budget, finished + ahead)


def searches_to_ask(searches: Iterable[OpenSearch], slots: int, workers: int, other_tasks: int = 0) -> tuple[str, ...]:
    """Keys of the searches that get a suggestion now, in order; a key may stand there several times.

    First every slot of the live workers gets a task; then one more a worker lies ready, so that a slot that becomes
    free need not wait. The latter only from searches that need no result they could still get: a lone search on one
    slot is asked when its trial before has finished. Higher priority comes first; among equals suggestions are spread
    over the experiments, and in each over its searches, with the fewest pending trials, then in the order given.
    ``other_tasks`` are ready or leased fits and evaluations.
    """
    open_now = list(searches)
    pending = other_tasks + sum(search.pending for search in open_now)
    shares: Counter[str] = Counter()
    for search in open_now:
        shares[search.experiment] += search.pending

    def turn(index: int) -> tuple[int, int, int, int]:
        search = open_now[index]
        return -search.priority, shares[search.experiment], search.pending, index

    chosen: list[str] = []
    while workers > 0 and pending < slots + workers:
        ahead = pending >= slots
        candidates = [
            index
            for index, search in enumerate(open_now)
            if search.asked < search.budget and (not ahead or search.pending == 0 or search.asked < search.blind)
        ]
        if not candidates:
            break
        index = min(candidates, key=turn)
        search = open_now[index]
        shares[search.experiment] += 1
        open_now[index] = replace(search, asked=search.asked + 1, pending=search.pending + 1)
        chosen.append(search.key)
        pending += 1
    return tuple(chosen)
