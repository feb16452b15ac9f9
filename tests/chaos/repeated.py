"""Cases that are tests of the suite, run again and again: what holds once may not hold the hundredth time.

In CI each runs once. Here pytest runs them in a process of its own, on the embedded PostgreSQL, so many times.
"""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
_TRIES = re.compile(r"^tried: (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Repeated:
    """Which tests, how often, and under which environment; each time stands for ``tries`` of what is tried.

    Without ``tries`` the tests tell themselves how many there were, in lines ``tried: 123``.
    """

    tests: tuple[str, ...]
    times: int
    tries: int | None = 1
    environment: dict[str, str] = field(default_factory=dict)


_TROUBLE = "tests/service/api/test_database_trouble.py"
_WORKERS = "tests/survival/test_workers.py"
CASES = {
    "R1": Repeated(("tests/service/usecases/test_races.py::test_one_of_two_owners_wins",), 10, 6 * 50),
    "R2": Repeated((f"{_TROUBLE}::test_fifty_workers_lease_two_hundred_tasks_once_each",), 20),
    "R3": Repeated((f"{_TROUBLE}::test_a_claim_whose_answer_is_lost_strands_nothing",), 25, 40),
    "R7": Repeated((f"{_WORKERS}::test_a_worker_that_was_paused_beyond_its_lease_stops_at_its_next_word",), 100),
    "R8": Repeated(
        (f"{_WORKERS}::test_a_worker_that_is_asked_to_stop_hands_back_and_nothing_is_held_against_the_task",), 100
    ),
    "R10": Repeated((f"{_WORKERS}::test_a_server_that_is_away_for_several_leases_costs_no_attempt",), 5),
    "R13": Repeated(
        (
            f"{_TROUBLE}::test_connections_that_die_under_load_are_replaced",
            f"{_TROUBLE}::test_when_all_connections_are_taken_nobody_waits_for_ever",
            f"{_TROUBLE}::test_a_locked_table_holds_requests_up_for_seconds_and_no_longer",
        ),
        20,
    ),
    "R18": Repeated(("tests/service/postgres/test_server.py",), 20),
    "S1": Repeated(
        ("tests/service/api/test_schemathesis.py",), 1, None, environment={"STAGETUNE_FUZZ_EXAMPLES": "2000"}
    ),
    "S5": Repeated(
        ("tests/service/artifacts/test_hostile.py", "tests/worker/test_hostile_checkpoints.py"),
        1,
        # Ten thousand changed checkpoints for each of them.
        20_000,
        environment={"STAGETUNE_FUZZ_EXAMPLES": "500"},
    ),
}


def run(name: str, times: int | None = None) -> dict[str, Any]:
    """Run a case; its figures. Raises AssertionError with what pytest said if a single test failed."""
    case = CASES[name]
    repeats, began = times or case.times, time.monotonic()
    # From the database of its own to the order of tests nothing is shared with who runs this.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("STAGETUNE_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-rP", "-p", "no:cacheprovider", f"--count={repeats}", *case.tests]
    ran = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment | case.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, said[-20_000:]
    told = sum(map(int, _TRIES.findall(said)))
    return {
        "case": name,
        "seconds": round(time.monotonic() - began, 1),
        "times": repeats,
        "tests": len(case.tests),
        "tries": told if case.tries is None else repeats * case.tries,
    }
