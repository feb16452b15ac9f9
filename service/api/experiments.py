"""Experiments: plan, submit, look, control."""

from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import StringConstraints
from starlette.concurrency import run_in_threadpool

from contract.experiments import (
    Experiment,
    ExperimentPage,
    ExperimentState,
    Failures,
    Report,
    Retried,
    SearchView,
    TrialView,
)
from contract.plans import Plan
from service.api.auth import ADMIN, DRAFT, READ, SUBMIT, GuardedRoute
from service.api.problems import responses
from service.api.services import Served, Services
from service.api.submissions import Reading, read_submission, understand
from service.domain import states
from service.domain.experiment import ExperimentSpec
from service.usecases import control_experiment, look_up
from service.usecases.build_report import build_report
from service.usecases.find_dataset import find_dataset
from service.usecases.list_failures import list_failures
from service.usecases.plan_submission import plan_submission
from service.usecases.purge_experiment import purge_experiment
from service.usecases.retry_experiment import retry_experiment
from service.usecases.submit_experiment import submit_experiment

router = APIRouter(prefix="/v1", route_class=GuardedRoute, tags=["experiments"])

MOST = 200
_REFUSALS = responses("malformed-body", "invalid-submission", "unknown-dataset", "body-too-large")
_SCHEMA = {"schema": {"$ref": "#/components/schemas/Submission"}}
_BODY = {"requestBody": {"required": True, "content": {"application/yaml": _SCHEMA, "application/json": _SCHEMA}}}

IdempotencyKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$"),
]


async def _submitted(request: Request) -> Reading:
    """The body as a submission; read here, because it may be YAML: a second of work a megabyte, so in a thread."""
    return await run_in_threadpool(read_submission, await request.body(), request.headers.get("content-type", ""))


Submitted = Annotated[Reading, Depends(_submitted)]
Reuse = Annotated[bool, Query(description="false: as if the submission said `reuse: false`")]


@router.post("/plans", dependencies=[DRAFT], responses=_REFUSALS, openapi_extra=_BODY)
def plan(submitted: Submitted, services: Served, reuse: Reuse = True) -> Plan:
    """Dry run: the prefix tree, what is shared, and what it will cost."""
    _, spec = _understand(services, submitted, reuse)
    return Plan.model_validate(plan_submission(services.store, spec, services.settings.lease_seconds))


@router.post(
    "/experiments",
    status_code=201,
    dependencies=[SUBMIT],
    responses={
        201: {"headers": {"Location": {"description": "The experiment", "schema": {"type": "string"}}}},
        **responses("conflict", "too-many-experiments"),
        **_REFUSALS,
    },
    openapi_extra=_BODY,
)
def submit(
    submitted: Submitted,
    request: Request,
    response: Response,
    services: Served,
    idempotency_key: Annotated[
        IdempotencyKey | None, Header(description="the same key with the same submission gives the same experiment")
    ] = None,
    reuse: Reuse = True,
) -> Experiment:
    """Submit an experiment; it starts as soon as workers are there."""
    document, spec = _understand(services, submitted, reuse)
    most = services.settings.open_experiments
    experiment = submit_experiment(services.store, document, spec, idempotency_key, most)
    request.state.made = str(experiment)
    services.changed()
    response.headers["Location"] = f"/v1/experiments/{experiment}"
    return _view(services, experiment)


@router.get("/experiments", dependencies=[READ], responses=responses("invalid-request"))
def list_experiments(
    services: Served,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before")] = None,
    state: ExperimentState | None = None,
) -> ExperimentPage:
    """Experiments, newest first."""
    wanted = None if state is None else states.ExperimentState(state)
    return ExperimentPage.model_validate(look_up.list_experiments(services.store, limit, cursor, wanted))


@router.get("/experiments/{experiment}", dependencies=[READ], responses=responses("not-found"))
def show_experiment(experiment: UUID, services: Served) -> Experiment:
    """An experiment with its searches."""
    return _view(services, experiment)


@router.post("/experiments/{experiment}/pause", dependencies=[SUBMIT], responses=responses("not-found", "conflict"))
def pause(experiment: UUID, services: Served) -> Experiment:
    """Lease nothing more; workers hand back what they hold."""
    control_experiment.pause_experiment(services.store, experiment)
    return _view(services, experiment)


@router.post("/experiments/{experiment}/resume", dependencies=[SUBMIT], responses=responses("not-found", "conflict"))
def resume(experiment: UUID, services: Served) -> Experiment:
    """Go on where it was paused."""
    control_experiment.resume_experiment(services.store, experiment)
    services.changed()
    return _view(services, experiment)


@router.post("/experiments/{experiment}/cancel", dependencies=[SUBMIT], responses=responses("not-found", "conflict"))
def cancel(experiment: UUID, services: Served) -> Experiment:
    """End it now; what other experiments stand on goes on."""
    control_experiment.cancel_experiment(services.store, experiment)
    services.changed()
    return _view(services, experiment)


@router.delete(
    "/experiments/{experiment}", status_code=204, dependencies=[ADMIN], responses=responses("not-found", "conflict")
)
def purge(experiment: UUID, services: Served) -> None:
    """Remove an ended experiment for good; what other experiments stand on stays."""
    purge_experiment(services.store, experiment)
    services.changed()


@router.post(
    "/experiments/{experiment}/retry",
    dependencies=[SUBMIT],
    responses=responses("not-found", "conflict", "too-many-experiments"),
)
def retry(experiment: UUID, services: Served) -> Retried:
    """Give its failed tasks another chance, wherever the search they belong to can still use it."""
    retried = retry_experiment(services.store, experiment, services.settings.open_experiments)
    services.changed()
    return Retried.model_validate(retried)


@router.get("/experiments/{experiment}/failures", dependencies=[READ], responses=responses("not-found"))
def show_failures(
    experiment: UUID,
    services: Served,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
    log: Annotated[bool, Query(description="with the last log lines of each")] = False,
) -> Failures:
    """Attempts that were lost or failed, newest first: which worker, why, and what its log said."""
    return Failures.model_validate(list_failures(services.store, experiment, limit, log=log))


@router.get("/experiments/{experiment}/report", dependencies=[READ], responses=responses("not-found"))
def report(experiment: UUID, services: Served) -> Report:
    """Total against Partial: as far as it is, or in full."""
    return Report.model_validate(build_report(services.store, experiment))


@router.get("/searches/{search}", dependencies=[READ], responses=responses("not-found"))
def show_search(search: UUID, services: Served) -> SearchView:
    """A stage search."""
    return SearchView.model_validate(look_up.get_search(services.store, search))


@router.get("/searches/{search}/trials", dependencies=[READ], responses=responses("not-found"))
def list_trials(search: UUID, services: Served) -> list[TrialView]:
    """The trials of a stage search, in the order they were suggested."""
    return [TrialView.model_validate(trial) for trial in look_up.list_trials(services.store, search)]


def _understand(services: Services, submitted: Reading, reuse: bool) -> tuple[dict[str, Any], ExperimentSpec]:
    """The submission to be kept and its spec."""
    spec = understand(submitted, lambda name: find_dataset(services.store, name, services.settings.lease_seconds))
    if reuse:
        return submitted.document, spec
    return submitted.document | {"reuse": False}, replace(spec, reuse=False)


def _view(services: Services, experiment: UUID) -> Experiment:
    found = look_up.get_experiment(services.store, experiment, services.settings.lease_seconds)
    return Experiment.model_validate(found)
