"""Numbers that no worker means: none of them stops what others wait for."""

from typing import Any

import pytest

from service.domain.states import ExperimentState
from service.storage import costs
from service.tuning.projection import StudyProjection
from service.usecases.project_studies import Setbacks, project_studies
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


def test_a_study_that_optuna_cannot_take_keeps_no_other_from_it(
    lab: Lab, database_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step as an earlier version took them from workers: Optuna counts to 2**31 - 1."""
    monkeypatch.setattr("service.usecases.project_studies.BATCH", 1)
    worker, projection, setbacks = lab.worker(slots=8), StudyProjection(database_url), Setbacks()
    lab.submit(phases=[{"epochs": 1, "trials": 1}])
    lab.plan()
    lease = lab.take(worker)
    curve = [{"step": 2**31, "epoch": 1.0, "validation_accuracy": 0.5, "loss": None}]
    record_result(lab.store, lease.task, lease.attempt, lab.outcome(lease) | {"curve": curve})
    sound = lab.submit(phases=[{"epochs": 2, "trials": 1}])
    lab.drive(sound, worker)

    passes = 20
    shown = sum(project_studies(lab.store, projection.sync, setbacks) for _ in range(passes))

    assert shown == 1
    assert lab.value("SELECT count(*) FROM trial WHERE projected IS DISTINCT FROM state") == 1
    # Each failure is one line, and it is tried more and more seldom.
    refused = [record for record in caplog.records if "cannot be shown" in record.message]
    assert 2 <= len(refused) <= 5
    assert all(record.exc_info is None and "\n" not in record.message for record in refused)
    lab.run("DELETE FROM report WHERE step > 1000")
    assert sum(project_studies(lab.store, projection.sync, setbacks) for _ in range(passes)) == 1
    projection.close()
