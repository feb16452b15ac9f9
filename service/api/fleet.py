"""Workers from the operator's side: let one leave in good order."""

from uuid import UUID

from fastapi import APIRouter

from contract.experiments import WorkerView
from service.api.auth import ADMIN, GuardedRoute
from service.api.problems import responses
from service.api.services import Served, Services
from service.usecases.drain_worker import drain_worker

router = APIRouter(prefix="/v1", route_class=GuardedRoute, tags=["catalogue"], dependencies=[ADMIN])


@router.post("/workers/{worker}/drain", responses=responses("not-found"))
def drain(worker: UUID, services: Served) -> WorkerView:
    """Let a worker hand back what it holds, without a strike, and leave."""
    return _set(services, worker, draining=True)


@router.post("/workers/{worker}/undrain", responses=responses("not-found"))
def undrain(worker: UUID, services: Served) -> WorkerView:
    """Let a worker that is still there work on; one that has left starts anew by itself."""
    return _set(services, worker, draining=False)


def _set(services: Services, worker: UUID, *, draining: bool) -> WorkerView:
    view = drain_worker(services.store, worker, services.settings.lease_seconds, draining=draining)
    # Those that wait for a task hear of it, and the planner counts slots anew.
    services.changed()
    return WorkerView.model_validate(view)
