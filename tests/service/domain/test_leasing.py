from typing import get_args

import pytest

from contract import tasks
from service.domain.leasing import (
    LOG_BYTES,
    LOG_LINES,
    PREEMPTED_REST_SECONDS,
    FailureReason,
    Verdict,
    backoff_seconds,
    judge,
    last_lines,
)
from service.domain.states import TaskState


def test_reasons_are_those_of_the_wire() -> None:
    assert {str(reason) for reason in FailureReason} == set(get_args(tasks.FailureReason))


@pytest.mark.parametrize("reason", [FailureReason.LOST, FailureReason.CRASHED, FailureReason.OUT_OF_MEMORY])
def test_three_strikes_in_a_row_make_a_dead_letter(reason: FailureReason) -> None:
    verdict = Verdict(TaskState.READY, 0)
    states = []
    for _ in range(3):
        verdict = judge(reason, verdict.strikes, max_strikes=3)
        states.append(verdict.state)
    assert states == [TaskState.READY, TaskState.READY, TaskState.FAILED]


@pytest.mark.parametrize("reason", [FailureReason.LOST, FailureReason.CRASHED])
def test_an_attempt_that_got_on_ends_the_row(reason: FailureReason) -> None:
    verdict = judge(reason, 2, max_strikes=3, progressed=True)
    assert (verdict.state, verdict.strikes) == (TaskState.READY, 0)
    assert (verdict.backoff_seconds > 0) == (reason is FailureReason.CRASHED)


def test_of_a_log_the_end_is_kept() -> None:
    lines = last_lines("\n".join(f"line {number}" for number in range(1000))).splitlines()
    assert (len(lines), lines[-1]) == (LOG_LINES, "line 999")
    assert last_lines("") == ""
    wide = last_lines("ä" * LOG_BYTES)
    assert 0 < len(wide.encode()) <= LOG_BYTES
    assert set(wide) == {"ä"}


def test_what_says_nothing_of_the_task_is_no_strike() -> None:
    assert judge(FailureReason.OUTAGE, 2, 3) == Verdict(TaskState.READY, 2)
    # The worker that could not do it is at another task by then.
    assert judge(FailureReason.PREEMPTED, 2, 3) == Verdict(TaskState.READY, 2, PREEMPTED_REST_SECONDS)


@pytest.mark.parametrize(
    "reason",
    [FailureReason.MEMORY_LIMIT, FailureReason.USER_ERROR, FailureReason.TIME_LIMIT],
)
def test_what_would_end_the_same_way_is_not_tried_again(reason: FailureReason) -> None:
    assert judge(reason, 0, 3).state is TaskState.FAILED


def test_a_cancelled_task_stays_cancelled() -> None:
    assert judge(FailureReason.CANCELLED, 1, 3) == Verdict(TaskState.CANCELLED, 1)


def test_a_crash_rests_longer_each_time_and_a_lost_lease_not_at_all() -> None:
    assert judge(FailureReason.CRASHED, 0, 5).backoff_seconds == 1.0
    assert judge(FailureReason.CRASHED, 1, 5).backoff_seconds == 2.0
    assert judge(FailureReason.LOST, 1, 5).backoff_seconds == 0.0
    assert backoff_seconds(10_000) == 60.0
