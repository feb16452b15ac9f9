"""What tasks and results look like on the wire."""

from base64 import b64encode
from typing import Any

import pytest
from pydantic import ValidationError

from contract.tasks import MOST_MARKED, EvaluationOutcome, WorkRecipe

RECIPE = WorkRecipe(
    batch_size=50,
    optimizer="sgd",
    momentum=0.9,
    precision="auto",
    initialization="torch",
    head="linear",
    standardize_inputs=True,
)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_only_a_task_with_a_schedule_needs_a_worker_that_knows_of_schedules(schedule: str) -> None:
    sent = WorkRecipe.model_validate(RECIPE.model_dump() | {"schedule": schedule})
    assert ("schedule" in sent.model_dump(mode="json")) is (schedule != "constant")
    assert WorkRecipe.model_validate_json(sent.model_dump_json()) == sent


def evaluated(right: str | None, accuracy: float = 0.4, images: int = 10) -> EvaluationOutcome:
    told: dict[str, Any] = {"test_accuracy": accuracy, "images": images, "total_seconds": 1.0}
    return EvaluationOutcome.model_validate({"outcome": "evaluated", **told, "right": right})


def packed(*data: int) -> str:
    return b64encode(bytes(data)).decode()


def test_a_bit_for_each_image_is_taken_and_none_at_all_too() -> None:
    assert evaluated(packed(0b1101, 0b10)).right == "DQI="
    # As a worker tells it that computes in float32.
    assert evaluated(packed(0b1101, 0b10), 0.4000000059604645).right == "DQI="
    assert evaluated(None).right is None
    told = {"outcome": "evaluated", "test_accuracy": 0.4, "images": 10, "total_seconds": 1.0}
    assert EvaluationOutcome.model_validate(told).right is None


@pytest.mark.parametrize(
    ("right", "why"),
    [
        (packed(0b1101, 0b11), "has 5 images, which is not the test_accuracy of 10"),
        (packed(0b1101, 0b0), "has 3 images, which is not the test_accuracy of 10"),
        (packed(0b1101, 0b100), "has bits beyond the last image"),
        (packed(0b1111), "must be base64 of a bit for each of 10 images"),
        (packed(0b1111, 0, 0), "must be base64 of a bit for each of 10 images"),
        ("", "must be base64 of a bit for each of 10 images"),
        ("DQI", "must be base64 of a bit for each of 10 images"),
        # The same bytes, written in another way.
        ("DQJ=", "must be base64 of a bit for each of 10 images"),
        ("DQ I=", "pattern"),
        ("DQI=\n", "pattern"),
        ("DQ_-", "pattern"),
        ("ＤＱＩ=", "pattern"),
        ("A" * (MOST_MARKED // 8 * 4 // 3 + 100), "at most"),
    ],
)
def test_bits_that_are_not_of_these_images_are_refused(right: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why) as refused:
        evaluated(right)
    assert [error["loc"] for error in refused.value.errors()] == [("right",)]


def test_as_many_images_as_may_be_marked_fit() -> None:
    whole = b64encode(b"\xff" * (MOST_MARKED // 8)).decode()
    assert evaluated(whole, 1.0, MOST_MARKED).right == whole


def test_what_else_is_wrong_is_told_first() -> None:
    with pytest.raises(ValidationError) as refused:
        evaluated(packed(0b1101, 0b10), accuracy=1.5)
    assert [error["loc"] for error in refused.value.errors()] == [("test_accuracy",)]
