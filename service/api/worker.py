"""The worker protocol (docs/worker-protocol.md): register, lease, heartbeat, result, failure, release."""

import random
import time
from uuid import UUID

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from contract.tasks import (
    FailureAccepted,
    Heartbeat,
    HeartbeatAnswer,
    Lease,
    LeaseRequest,
    RegisteredWorker,
    ResultAccepted,
    Snapshot,
    TaskFailure,
    TaskResult,
    WorkerRegistration,
)
from service.api.addresses import Attempt
from service.api.auth import (
    OWN,
    WORKER,
    GuardedRoute,
    identity_of,
    note_refusal,
    remember_attempt,
    still_identified,
)
from service.api.limits import Limits
from service.api.problems import responses
from service.api.services import Served
from service.domain.errors import NotFound, TooManyRequests, Unauthenticated
from service.domain.experiment import Dataset
from service.domain.leasing import FailureReason
from service.storage.results import Measurement
from service.storage.tasks import LeasedTask
from service.storage.workers import Owner
from service.usecases.collect_artifacts import discard_artifacts
from service.usecases.depart_worker import depart_worker
from service.usecases.lease_task import lease_task
from service.usecases.own_worker import check_worker
from service.usecases.record_failure import record_failure
from service.usecases.record_result import record_result
from service.usecases.record_snapshot import record_snapshot
from service.usecases.register_worker import register_worker
from service.usecases.release_task import release_task
from service.usecases.renew_lease import renew_lease

router = APIRouter(prefix="/v1/worker", route_class=GuardedRoute, tags=["worker protocol"], dependencies=[WORKER, OWN])

# A result carries its curve, of up to a hundred thousand measurements.
MAX_RESULT_BYTES = 16 * 1024**2
# A waiting request looks again at least this often: other servers ring no bell here.
LOOK_SECONDS = 1.0


@router.put("/workers/{worker}", responses=responses("invalid-request", "not-found"))
def register(worker: UUID, body: WorkerRegistration, request: Request, services: Served) -> RegisteredWorker:
    """Say hello under an id of the worker's own choice; saying it again changes nothing.

    From then on it is this token's: no other one speaks for the worker or for what it leased.
    """
    register_worker(
        services.store,
        worker,
        name=body.name,
        device=body.device,
        slots=body.slots,
        info=body.info,
        token=identity_of(request).token,
        datasets=[
            Dataset(held.name, held.digest, held.shape, held.classes, held.train, held.test) for held in body.datasets
        ],
    )
    services.changed()
    settings = services.settings
    return RegisteredWorker(
        id=worker, heartbeat_seconds=settings.heartbeat_seconds, lease_seconds=settings.lease_seconds
    )


@router.delete("/workers/{worker}", status_code=204, responses=responses("not-found"))
def depart(worker: UUID, services: Served) -> None:
    """Say goodbye; what the worker still holds goes to others, without a strike."""
    depart_worker(services.store, worker)
    services.bell.ring()


@router.post(
    "/leases",
    response_model=Lease,
    responses={
        204: {"description": "Nothing to do within `wait_seconds`"},
        **responses("not-found", "conflict", "draining", "too-many-requests"),
    },
)
async def lease(body: LeaseRequest, request: Request, services: Served) -> Lease | Response:
    """Lease a task, waiting for one if asked to. While it waits, the request holds no thread and no connection."""
    limits: Limits = request.app.state.limits
    deadline = time.monotonic() + body.wait_seconds
    token = identity_of(request).token

    def admit() -> Owner | None:
        try:
            owner = check_worker(services.store, body.worker, token)
            limits.check_claim(body.worker, _slots(owner))
        except (NotFound, TooManyRequests) as error:
            note_refusal(request, identity_of(request), "lease", error)
            raise
        return owner

    owner = await run_in_threadpool(admit)

    def claim() -> LeasedTask | None:
        return lease_task(services.store, body.worker, body.request_id, services.settings.lease_seconds)

    def claim_again() -> LeasedTask | None:
        # A token that ended meanwhile could do nothing with a task: the lease would run out and cost a strike.
        if not still_identified(services, request):
            raise Unauthenticated
        return claim()

    look = claim
    while True:
        task = await run_in_threadpool(look)
        look = claim_again
        if task is not None:
            # One task fewer is ready, so the planner may ask ahead again.
            services.wake_planner()
            if owner is not None and owner.token is not None:
                remember_attempt(request, task.task, task.attempt, token)
            return Lease.model_validate(task)
        left = deadline - time.monotonic()
        if left <= 0 or services.bell.closed or await request.is_disconnected():
            limits.note_empty_claim(body.worker, _slots(owner))
            return Response(status_code=204)
        await services.bell.wait(min(left, LOOK_SECONDS * random.uniform(0.75, 1.25)))  # noqa: S311 - not in step


@router.post("/tasks/{task}/attempts/{attempt}/heartbeat", responses=responses("lease-lost", "not-found"))
def heartbeat(task: UUID, attempt: Attempt, body: Heartbeat, services: Served) -> HeartbeatAnswer:
    """Renew the lease, bring measurements and hear what to do next."""
    measurements = [Measurement(r.step, r.epoch, r.validation_accuracy, r.loss) for r in body.reports]
    lease_seconds = services.settings.lease_seconds
    answer = renew_lease(
        services.store, services.should_prune, task, attempt, lease_seconds, measurements, body.fraction
    )
    return HeartbeatAnswer.model_validate(answer)


@router.put(
    "/tasks/{task}/attempts/{attempt}/result",
    max_body_size=MAX_RESULT_BYTES,
    responses=responses("lease-lost", "not-found", "result-conflict", "invalid-artifact", "invalid-request"),
)
def result(task: UUID, attempt: Attempt, body: TaskResult, services: Served) -> ResultAccepted:
    """Bring a result. The same one again is answered the same; another one, or a superseded attempt's, is refused."""
    accepted = record_result(services.store, task, attempt, body.result.model_dump(mode="json"))
    services.changed()
    return ResultAccepted.model_validate(accepted)


@router.put(
    "/tasks/{task}/attempts/{attempt}/snapshot",
    status_code=204,
    responses=responses("lease-lost", "not-found", "invalid-artifact"),
)
def snapshot(task: UUID, attempt: Attempt, body: Snapshot, services: Served) -> None:
    """Name an uploaded snapshot as the training's newest: the next attempt goes on from there, on any worker."""
    superseded = record_snapshot(services.store, task, attempt, body.sha256, body.fraction)
    if superseded is not None:
        discard_artifacts(services.store, services.artifacts, [superseded])


@router.put("/tasks/{task}/attempts/{attempt}/failure", responses=responses("lease-lost", "not-found"))
def failure(task: UUID, attempt: Attempt, body: TaskFailure, services: Served) -> FailureAccepted:
    """Tell why an attempt ended without a result, and hear whether the task is tried again."""
    accepted = record_failure(
        services.store,
        task,
        attempt,
        FailureReason(body.reason),
        services.settings.max_strikes,
        message=body.message,
        log=body.log,
        seconds=body.seconds,
    )
    services.changed()
    return FailureAccepted.model_validate(accepted)


@router.post(
    "/tasks/{task}/attempts/{attempt}/release", status_code=204, responses=responses("lease-lost", "not-found")
)
def release(task: UUID, attempt: Attempt, services: Served) -> None:
    """Hand a task back in good order: no strike, and others get it at once."""
    release_task(services.store, task, attempt)
    services.bell.ring()


def _slots(owner: Owner | None) -> int:
    return 0 if owner is None else owner.slots
