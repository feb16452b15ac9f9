"""What a submission says of the training reaches the training: through the plan, the database's JSON and the lease."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from uuid import uuid4

import pytest
import torch
from pydantic.fields import FieldInfo

from contract.submission import Submission, TrainingChoice
from contract.tasks import Lease
from service.domain.experiment import Dataset
from service.domain.plan import plan_experiment
from service.domain.space import Point
from service.domain.submission import build_spec
from service.domain.work import TaskWork, trial_work
from service.storage.codec import decode, encode
from worker import jobs
from worker.control import Control
from worker.jobs import Places, TorchExecutor
from worker.stage_training import StageJob
from worker.training.spec import Recipe

DIGITS = Dataset("digits", "d" * 64, (1, 8, 8), 10, 1437, 360)
# The keys that a recipe has under another name, and what becomes of their values.
RENAMED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "features": ("cached_features", lambda value: value == "cached")
}


class Began(Exception):
    """A training would begin now."""

    def __init__(self, job: StageJob) -> None:
        self.job = job


def other_than_default(field: FieldInfo) -> Any:
    """A value that nobody gets without asking for it; where there is only one, that."""
    if get_origin(field.annotation) is Literal:
        return next((value for value in get_args(field.annotation) if value != field.default), field.default)
    if isinstance(field.default, bool):
        return not field.default
    if isinstance(field.default, int):
        return field.default + 1
    assert isinstance(field.default, float), f"say here how a {field.annotation} differs from {field.default}"
    return field.default / 2


def begun(executor: TorchExecutor, training: dict[str, Any]) -> Recipe:
    """The recipe of a first stage, whose objective may be any, when its training begins."""
    wishes = {
        "name": "every choice",
        "dataset": {"name": "digits"},
        "architectures": {"A": ["Conv-3-4 Pool-2", "Conv-3-4"]},
        "variants": [{"architecture": "A", "learning": "partial"}],
        "training": training,
    }
    spec = build_spec(Submission.model_validate(wishes).model_dump(), DIGITS)
    work = trial_work(spec, plan_experiment(spec).searches[0], [], Point(0.01, 0.001), seed=0)
    held = {
        "task": uuid4(), "attempt": 1, "kind": "trial", "label": "trial 0", "expires_at": datetime.now(UTC),
        "lease_seconds": 45.0, "work": decode(TaskWork, encode(work)),
    }  # fmt: skip
    sent = Lease.model_validate(held, from_attributes=True).model_dump_json()
    with pytest.raises(Began) as caught:
        executor(Lease.model_validate_json(sent), Control())
    return caught.value.job.recipe


@pytest.fixture
def executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TorchExecutor:
    """Of a worker that has the data set and does not train."""

    class Nowhere:
        def download(self, digest: str, target: Path) -> None:
            raise AssertionError(f"nothing stands before a first stage: {digest} to {target}")

    def begin(job: StageJob, *_: object, **__: object) -> None:
        raise Began(job)

    monkeypatch.setattr(jobs, "open_dataset", lambda *_: None)
    monkeypatch.setattr(jobs, "train_stage", begin)
    return TorchExecutor(torch.device("cpu"), Places(tmp_path, None), Nowhere())


def test_every_choice_of_a_training_reaches_it(executor: TorchExecutor) -> None:
    fields = TrainingChoice.model_fields
    chosen = {name: other_than_default(field) for name, field in fields.items()}

    recipes = [dataclasses.asdict(begun(executor, training)) for training in (chosen, {})]

    for given, recipe in zip((chosen, {name: field.default for name, field in fields.items()}), recipes, strict=True):
        names = {name: RENAMED.get(name, (name, lambda value: value)) for name in given}
        assert recipe == {mine: become(given[name]) for name, (mine, become) in names.items()}
    # Nothing is the same by chance: of optimizers there is but one.
    assert {name for name in recipes[0] if recipes[0][name] == recipes[1][name]} == {"optimizer"}
