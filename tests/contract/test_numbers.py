"""A number is a number in the published schema and in the server alike: neither true nor text passes as one."""

from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from contract.submission import Submission, submission_schema
from contract.tasks import Heartbeat, LeaseRequest, TaskFailure, TaskResult, WorkerRegistration

MINIMAL: dict[str, Any] = {"name": "a", "dataset": {"name": "digits"}, "architectures": {"A": ["Conv-3-8", "Conv-3-8"]}}
WHOLE = [
    "dataset.train", "dataset.validation", "phases.0.epochs", "phases.0.trials", "search.second_round",
    "search.confirm_seeds", "training.batch_size", "seeds.0", "priority",
]  # fmt: skip
REAL = [
    "search.space.learning_rate.high", "search.initial.learning_rate", "search.enqueue.0.regularization",
    "training.momentum",
]  # fmt: skip
FLAGS = ["variants.0.checkpointing", "search.range_test", "training.standardize_inputs", "reuse"]
AROUND: dict[str, Any] = {
    "phases": [{}],
    "search": {
        "space": {"learning_rate": {"low": 1e-9, "high": 1}},
        "initial": {"learning_rate": 1, "regularization": 1},
        "enqueue": [{"learning_rate": 1, "regularization": 1}],
    },
    "training": {},
    "seeds": [0],
    "variants": [{"architecture": "A", "learning": "total"}],
}


def put(path: str, value: object) -> dict[str, Any]:
    document = deepcopy(MINIMAL | AROUND)
    place: Any = document
    *way, last = path.split(".")
    for key in way:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[int(last) if isinstance(place, list) else last] = value
    return document


def taken(document: dict[str, Any]) -> bool:
    """By the server; the schema must think the same."""
    accepted = True
    try:
        Submission.model_validate(document)
    except ValidationError:
        accepted = False
    assert bool(Draft202012Validator(submission_schema()).is_valid(document)) is accepted
    return accepted


@pytest.mark.parametrize("path", WHOLE)
def test_a_whole_number_is_no_word_and_no_flag(path: str) -> None:
    assert taken(put(path, 2))
    assert taken(put(path, 2.0))
    assert not any(taken(put(path, value)) for value in (True, False, "2", "two", 2.5, "", [2]))


@pytest.mark.parametrize("path", REAL)
def test_a_real_number_may_be_whole_but_no_word_and_no_flag(path: str) -> None:
    assert taken(put(path, 0.5))
    assert taken(put(path, 0 if path == "training.momentum" else 1))
    assert not any(taken(put(path, value)) for value in (True, False, "0.5", "1e-4", "half", [0.5]))


@pytest.mark.parametrize("path", FLAGS)
def test_a_flag_is_true_or_false(path: str) -> None:
    assert taken(put(path, True))
    assert not any(taken(put(path, value)) for value in (1, 0, "yes", "true", "on"))


def test_workers_send_numbers_as_numbers() -> None:
    one = "00000000-0000-4000-8000-000000000000"
    report = {"step": 1, "epoch": 1, "validation_accuracy": 0, "loss": 2}
    assert Heartbeat.model_validate({"reports": [report], "fraction": 1}).fraction == 1.0
    assert LeaseRequest.model_validate({"worker": one, "request_id": one, "wait_seconds": 5}).wait_seconds == 5.0
    for model, wrong in (
        (Heartbeat, {"fraction": "0.5"}),
        (Heartbeat, {"reports": [report | {"step": True}]}),
        (LeaseRequest, {"worker": one, "request_id": one, "wait_seconds": True}),
        (WorkerRegistration, {"name": "w", "device": "cpu", "slots": "2"}),
    ):
        with pytest.raises(ValidationError):
            model.model_validate(wrong)


@pytest.mark.parametrize(
    ("field", "largest", "beyond"),
    [
        ("training_seconds", 1e9, 1.1e9),
        ("feature_seconds", 1e9, 1.1e9),
        ("evaluation_seconds", 1e9, 1.1e9),
        ("total_seconds", 1e9, 1.7e308),
        ("epochs", 1e40, 1.7e308),
    ],
)
def test_what_workers_send_can_be_added_up(field: str, largest: float, beyond: float) -> None:
    memory = {"peak_bytes": 2**53, "method": "m", "analytic_bytes": 2**53, "resident_bytes": 2**53}
    seconds = dict.fromkeys(("training_seconds", "feature_seconds", "evaluation_seconds", "total_seconds"), 1.0)
    accuracies = {"validation_accuracy": 1, "training_accuracy": 1, "epochs": 1}
    result: dict[str, Any] = {"outcome": "pruned", **accuracies, **seconds, "memory": memory}

    TaskResult.model_validate({"result": result | {field: largest}})
    for wrong in ({field: beyond}, {"memory": memory | {"peak_bytes": 2**53 + 1}}):
        with pytest.raises(ValidationError):
            TaskResult.model_validate({"result": result | wrong})
    with pytest.raises(ValidationError):
        TaskFailure.model_validate({"reason": "crashed", "message": "", "seconds": beyond})
