"""What becomes of a task whose attempt ended without a result: strikes, backoff, dead letters."""

from dataclasses import dataclass
from enum import StrEnum

from service.domain.states import TaskState

FIRST_BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 60.0
# Longer than a worker pauses that could not do a task: else the oldest task that nobody can do now keeps all others
# from their turn.
PREEMPTED_REST_SECONDS = 30.0
LOG_LINES = 200
LOG_BYTES = 32 * 1024


class FailureReason(StrEnum):
    """Why an attempt ended without a result."""

    LOST = "lost"
    OUTAGE = "outage"
    OUT_OF_MEMORY = "out-of-memory"
    MEMORY_LIMIT = "memory-limit"
    USER_ERROR = "user-error"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    CRASHED = "crashed"
    TIME_LIMIT = "time-limit"

    @classmethod
    def strikes(cls) -> frozenset["FailureReason"]:
        """These may be the task's fault or bad luck: they are tried again, but not for ever."""
        return frozenset({cls.LOST, cls.CRASHED, cls.OUT_OF_MEMORY})

    @classmethod
    def forgiven(cls) -> frozenset["FailureReason"]:
        """After progress these are no strikes: a training that gets further each time comes to its end."""
        return frozenset({cls.LOST, cls.CRASHED})

    @classmethod
    def nobodys(cls) -> frozenset["FailureReason"]:
        """These say nothing of the task: it is tried again, as often as it takes."""
        return frozenset({cls.PREEMPTED, cls.OUTAGE})

    @classmethod
    def final(cls) -> frozenset["FailureReason"]:
        """These would end the same way again."""
        return frozenset({cls.MEMORY_LIMIT, cls.USER_ERROR, cls.TIME_LIMIT})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The task's next state, the strikes it carries, and how long it rests before it may be leased again."""

    state: TaskState
    strikes: int
    backoff_seconds: float = 0.0


def judge(reason: FailureReason, strikes: int, max_strikes: int, *, progressed: bool = False) -> Verdict:
    """What a failure means for a task that carries ``strikes``.

    Stops, preemptions and outages of the server are no strikes. ``max_strikes`` in a row make a dead letter; an attempt
    that ``progressed``, by a snapshot further than any before, ends the row.
    """
    if reason is FailureReason.CANCELLED:
        return Verdict(TaskState.CANCELLED, strikes)
    if reason in FailureReason.final():
        return Verdict(TaskState.FAILED, strikes)
    if reason in FailureReason.nobodys():
        return Verdict(TaskState.READY, strikes, PREEMPTED_REST_SECONDS if reason is FailureReason.PREEMPTED else 0.0)
    if progressed and reason in FailureReason.forgiven():
        return Verdict(TaskState.READY, 0, 0.0 if reason is FailureReason.LOST else backoff_seconds(1))
    strikes += 1
    if strikes >= max_strikes:
        return Verdict(TaskState.FAILED, strikes)
    # A lost lease has rested already until it expired.
    return Verdict(TaskState.READY, strikes, 0.0 if reason is FailureReason.LOST else backoff_seconds(strikes))


def backoff_seconds(strikes: int) -> float:
    """Rest after the given number of strikes, doubling from one second up to a minute."""
    if strikes < 1:
        return 0.0
    return min(FIRST_BACKOFF_SECONDS * 2.0 ** min(strikes - 1, 30), LONGEST_BACKOFF_SECONDS)


def last_lines(log: str) -> str:
    """The end of a log, where the cause stands: at most ``LOG_LINES`` lines and ``LOG_BYTES`` bytes of UTF-8."""
    kept = "\n".join(log.splitlines()[-LOG_LINES:])
    return kept.encode()[-LOG_BYTES:].decode(errors="ignore")
