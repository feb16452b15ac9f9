"""Numbers that no worker means: none of them stops what others wait for."""

from typing import Any

from service.domain.states import ExperimentState
from service.storage import costs
from service.usecases.record_result import record_result
from tests.service.lab import Lab


def test_seconds_beyond_all_bounds_cost_no_search_its_suggestions(lab: Lab) -> None:
    """As an earlier version took them from workers."""
    odd, worker = lab.submit(phases=[{"epochs": 1, "trials": 5}]), lab.worker(slots=8)
    lab.plan()
    for lease in (lab.take(worker), lab.take(worker)):
        absurd: dict[str, Any] = lab.outcome(lease) | {"total_seconds": 1.7e308}
        record_result(lab.store, lease.task, lease.attempt, absurd)
    other = lab.submit(phases=[{"epochs": 2, "trials": 3}])

    for experiment in (other, odd):
        lab.drive(experiment, worker)
        assert lab.state(experiment) is ExperimentState.FINISHED
    with lab.store.reading() as tx:
        searches = [row.id for row in lab.rows("SELECT id FROM search")]
        assert sorted(len(tried) for tried in costs.tried(tx, searches).values()) == [3, 5]
