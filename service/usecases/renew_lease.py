"""A heartbeat: the lease goes on, measurements are kept, and the worker hears what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from service.domain.errors import LeaseLost
from service.domain.pruning import PruningBrief, ShouldPrune
from service.domain.states import TaskState
from service.storage import Storage, results, tasks, trials, workers
from service.storage.results import Measurement


class Command(StrEnum):
    """What a worker is to do with its task."""

    CONTINUE = "continue"
    PRUNE = "prune"
    PAUSE = "pause"
    CANCEL = "cancel"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Renewal:
    """The fields are those of ``contract.tasks.HeartbeatAnswer``."""

    command: Command
    expires_at: datetime


def renew_lease(
    store: Storage,
    should_prune: ShouldPrune,
    task: UUID,
    attempt: int,
    lease_seconds: float,
    measurements: Sequence[Measurement] = (),
    fraction: float | None = None,
) -> Renewal:
    """Renew the lease of the current attempt, even a late one, as long as nobody else got the task.

    New measurements of a trial are shown to its search's pruner, if there is one.

    Raises:
        LeaseLost: the attempt was superseded, or its task has ended.
        NotFound: there is no such task.
    """
    with store.transaction() as tx:
        draining = workers.see_owner(tx, task, attempt)
        expires_at = tasks.renew(tx, task, attempt, lease_seconds, fraction)
        if expires_at is None:
            row = tasks.get(tx, task, lock=True)
            if row.attempt == attempt and row.state is TaskState.CANCELLED:
                return Renewal(Command.CANCEL, tx.now())
            # A statement that waited for the reaper saw the attempt as it was before: a second one sees it lost.
            expires_at = tasks.renew(tx, task, attempt, lease_seconds, fraction)
            if expires_at is None:
                raise LeaseLost
        results.measure(tx, task, attempt, measurements)
        if draining:
            return Renewal(Command.DRAIN, expires_at)
        if not tasks.is_wanted(tx, task):
            return Renewal(Command.PAUSE, expires_at)
        judged = trials.judged(tx, task) if measurements else None
    # The lease is renewed by now, and nothing is locked while the pruner thinks.
    prune = judged is not None and _falls_behind(store, should_prune, *judged)
    return Renewal(Command.PRUNE if prune else Command.CONTINUE, expires_at)


def _falls_behind(store: Storage, should_prune: ShouldPrune, search: UUID, ordinal: int, brief: PruningBrief) -> bool:
    with store.reading() as tx:
        measured = trials.measured(tx, search)
    trial = measured.pop(ordinal)
    return should_prune(brief, trial, tuple(measured.values()))
