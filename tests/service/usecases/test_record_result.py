"""What a result has to be before it counts."""

from base64 import b64encode
from uuid import UUID

import pytest

from service.domain.errors import InvalidArtifact, InvalidRequest
from service.domain.states import TaskKind
from service.storage.tasks import LeasedTask
from service.usecases.record_result import record_result
from tests.service.lab import Lab


@pytest.fixture
def worker(lab: Lab) -> UUID:
    return lab.worker()


@pytest.fixture
def lease(lab: Lab, worker: UUID) -> LeasedTask:
    """The first trial of an experiment."""
    lab.submit()
    lab.plan()
    return lab.take(worker)


def test_a_checkpoint_must_be_there_before_its_result(lab: Lab, lease: LeasedTask) -> None:
    payload = lab.outcome(lease) | {"checkpoint": "0" * 64}
    with pytest.raises(InvalidArtifact):
        record_result(lab.store, lease.task, lease.attempt, payload)
    assert lab.finish(lease).repeated is False


def test_an_outcome_has_to_fit_its_task(lab: Lab, lease: LeasedTask) -> None:
    with pytest.raises(InvalidRequest):
        record_result(
            lab.store, lease.task, lease.attempt, {"outcome": "evaluated", "test_accuracy": 1.0, "total_seconds": 1.0}
        )


def test_which_images_were_right_is_said_of_the_whole_test_set(lab: Lab, worker: UUID, lease: LeasedTask) -> None:
    """One seed's images are compared with another's: a bit has to mean the same one everywhere."""
    while lease.kind is not TaskKind.EVALUATE:
        lab.finish(lease)
        lab.plan()
        lease = lab.take(worker)
    payload = lab.outcome(lease) | {"images": 8, "right": "Dw=="}
    with pytest.raises(InvalidRequest, match="right is of 8 images, the test set has 360"):
        record_result(lab.store, lease.task, lease.attempt, payload)
    whole = payload | {"images": 360, "right": b64encode(b"\x0f" * 45).decode()}
    assert record_result(lab.store, lease.task, lease.attempt, whole).repeated is False


def test_a_pruned_trial_enters_the_model_at_its_last_value(lab: Lab, lease: LeasedTask) -> None:
    lab.finish(lease, 0.25, "pruned")
    assert lab.rows("SELECT state, value, diverged FROM trial WHERE ordinal = 0") == [("pruned", 0.25, False)]
