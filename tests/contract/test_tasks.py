import pytest

from contract.tasks import Recipe

RECIPE = Recipe(
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
    sent = Recipe.model_validate(RECIPE.model_dump() | {"schedule": schedule})
    assert ("schedule" in sent.model_dump(mode="json")) is (schedule != "constant")
    assert Recipe.model_validate_json(sent.model_dump_json()) == sent
