"""Whether the service can do its work."""

import logging

from service.domain.errors import DatabaseUnavailable
from service.storage import Storage, health, heartbeats
from service.storage.migrations import head

log = logging.getLogger(__name__)

# A beat may come late while a statement waits for a lock.
_MISSED_BEATS = 6
# The longest pause between two passes of the planner, and as much again for the longest step of one.
_PLANNER_SECONDS = 120.0


def check_readiness(store: Storage, reaper_seconds: float) -> dict[str, str]:
    """A line for each thing that must be well: "ok", or what is wrong with it."""
    try:
        with store.reading() as tx:
            pulse = health.pulse(tx)
    except DatabaseUnavailable as error:
        log.warning("not ready: %s", error.message)
        return {"database": error.told}
    checks = {"database": "ok", "migrations": "ok"}
    if pulse.revision != head():
        checks["migrations"] = f"the database is at {pulse.revision}, this server needs {head()}"
    bounds = {heartbeats.REAPER: _MISSED_BEATS * reaper_seconds + 5, heartbeats.PLANNER: _PLANNER_SECONDS}
    for name, bound in bounds.items():
        silent = pulse.silent_seconds.get(name)
        if silent is None:
            checks[name] = "no sign of life yet"
        else:
            checks[name] = "ok" if silent <= bound else f"silent for {silent:.0f} s"
    return checks


def database_version(store: Storage) -> str:
    """PostgreSQL's version as it tells it itself. Raises DatabaseUnavailable."""
    with store.reading() as tx:
        return f"PostgreSQL {health.pulse(tx).version}"
