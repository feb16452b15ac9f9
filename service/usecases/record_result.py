"""Accept the result of an attempt, once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from service.domain.errors import InvalidArtifact, InvalidRequest, LeaseLost, ResultConflict
from service.domain.identity import digest
from service.domain.range_test import bounded, learning_rates
from service.domain.states import AttemptOutcome, TaskKind, TaskState, TrialState
from service.failpoints import reach
from service.storage import Storage, Transaction, artifacts, results, searches, tasks, trials
from service.storage.results import Measurement
from service.storage.tasks import TaskRow
from service.usecases.announce_news import News, announce_news

TRAINED = frozenset({"complete", "pruned", "diverged"})
OUTCOMES = {
    TaskKind.TRIAL: TRAINED,
    TaskKind.FIT: TRAINED,
    TaskKind.RANGE_TEST: frozenset({"ranged"}),
    TaskKind.EMBED: frozenset({"embedded"}),
    TaskKind.EVALUATE: frozenset({"evaluated"}),
}


@dataclass(frozen=True, slots=True)
class ResultAccepted:
    """The fields are those of ``contract.tasks.ResultAccepted``."""

    task: UUID
    attempt: int
    repeated: bool


def record_result(store: Storage, task: UUID, attempt: int, payload: Mapping[str, Any]) -> ResultAccepted:
    """Store a result, given as JSON in the form of ``contract.tasks.Outcome``, and end the task and its trial.

    Raises:
        LeaseLost: the attempt was superseded, or its task has ended otherwise.
        ResultConflict: another result of this attempt was accepted before.
        InvalidArtifact: the checkpoint has not been uploaded.
        InvalidRequest: the outcome does not fit the task.
        NotFound: there is no such task.
    """
    fingerprint = digest(dict(payload))
    with store.transaction() as tx:
        if payload["outcome"] == "ranged":
            # It changes the search, and everybody locks searches before tasks.
            searches.lock_of_task(tx, task)
        row = tasks.get(tx, task, lock=True)
        # Before fencing: the worker may not have got the answer to the same result.
        accepted = results.digest_of(tx, task)
        if accepted is not None and accepted[0] == attempt:
            if accepted[1] != fingerprint:
                raise ResultConflict
            return ResultAccepted(task, attempt, repeated=True)
        _check_form(row.kind, payload)
        _check_images(tx, row, payload)
        if not tasks.end(tx, task, attempt, TaskState.DONE):
            raise LeaseLost
        checkpoint = payload.get("checkpoint")
        if checkpoint is not None and artifacts.size(tx, checkpoint) is None:
            raise InvalidArtifact(f"checkpoint {checkpoint} has not been uploaded")
        results.add(tx, task, attempt, fingerprint, payload)
        results.measure(tx, task, attempt, [_measurement(report) for report in payload.get("curve", ())])
        tasks.end_attempt(tx, task, attempt, AttemptOutcome.ACCEPTED, seconds=payload["total_seconds"])
        if row.trial_id is not None:
            _finish_trial(tx, row.search_id, row.trial_id, payload)
        if row.kind is TaskKind.RANGE_TEST:
            _bound_space(tx, row, payload)
        _announce(tx, row, payload)
        reach("before-result-commit")
    reach("after-result-commit")
    return ResultAccepted(task, attempt, repeated=False)


def _check_form(kind: TaskKind, payload: Mapping[str, Any]) -> None:
    outcome = payload["outcome"]
    if outcome not in OUTCOMES[kind]:
        raise InvalidRequest(f"{outcome} is no outcome of a task of kind {kind}")
    if outcome == "complete" and payload.get("checkpoint") is None:
        raise InvalidRequest("a complete training needs its checkpoint")
    if outcome == "embedded" and payload.get("checkpoint") is None:
        raise InvalidRequest("an embedding needs its coordinates")


def _check_images(tx: Transaction, row: TaskRow, payload: Mapping[str, Any]) -> None:
    """Which images were right is compared from test to test, so that all have to be of the same images."""
    if payload.get("right") is not None:
        images = searches.get(tx, row.search_id).spec.dataset.test
        if payload["images"] != images:
            raise InvalidRequest(f"right is of {payload['images']} images, the test set has {images}")


def _finish_trial(tx: Transaction, search_id: UUID, trial_id: UUID, payload: Mapping[str, Any]) -> None:
    match payload["outcome"]:
        case "pruned":
            trials.finish(tx, trial_id, TrialState.PRUNED, value=payload["validation_accuracy"])
        case "diverged":
            # Told at chance accuracy: samplers learn from complete trials only, and have to learn this too.
            chance = searches.get(tx, search_id).spec.dataset.chance
            trials.finish(tx, trial_id, TrialState.COMPLETE, value=chance, diverged=True)
        case _:
            trials.finish(tx, trial_id, TrialState.COMPLETE, value=payload["validation_accuracy"])


def _bound_space(tx: Transaction, row: TaskRow, payload: Mapping[str, Any]) -> None:
    search = searches.get(tx, row.search_id)
    rates, losses = learning_rates(search.space), payload["losses"]
    if len(losses) != len(rates):
        raise InvalidRequest(f"{len(losses)} losses for {len(rates)} learning rates: send one for each")
    searches.bound(tx, search.id, bounded(search.space, search.planned.stage, rates, losses))


def _measurement(report: Mapping[str, Any]) -> Measurement:
    return Measurement(report["step"], report["epoch"], report["validation_accuracy"], report.get("loss"))


def _announce(tx: Transaction, row: TaskRow, payload: Mapping[str, Any]) -> None:
    accuracy = payload.get("test_accuracy", payload.get("validation_accuracy"))
    told = {"task": str(row.id), "label": row.label, "outcome": payload["outcome"], "accuracy": accuracy}
    announce_news(tx, [News(row.search_id, f"{row.kind}-finished", told)])
