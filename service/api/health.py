"""For supervisors and load balancers; open to everybody, so nothing here tells more than they need."""

import importlib.metadata

from fastapi import APIRouter, Response

from contract.access import Readiness, Version
from service.api.problems import RETRY_SECONDS
from service.api.services import Served
from service.domain.errors import StagetuneError
from service.usecases.check_readiness import check_readiness, database_version

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def check_health() -> dict[str, str]:
    """The process answers; nothing else is looked at."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready; `checks` says why"}})
def check_ready(response: Response, services: Served) -> Readiness:
    """Whether the database answers at the right revision, background work is alive and artifacts can be stored."""
    checks = check_readiness(services.store, services.settings.reaper_seconds)
    checks["artifacts"] = services.artifacts.trouble() or "ok"
    ready = all(state == "ok" for state in checks.values())
    if not ready:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return Readiness(ready=ready, checks=checks)


@router.get("/version")
def show_version(services: Served) -> Version:
    """What is running."""
    try:
        database = database_version(services.store)
    except StagetuneError:
        database = "unavailable"
    return Version(version=installed_version(), optuna=importlib.metadata.version("optuna"), database=database)


def installed_version() -> str:
    """The version of this package, also when it runs from a checkout that nobody installed."""
    try:
        return importlib.metadata.version("stagetune")
    except importlib.metadata.PackageNotFoundError:
        return "0+checkout"
