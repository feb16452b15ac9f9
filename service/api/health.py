"""For supervisors and load balancers; open to everybody, so nothing here tells more than they need."""

import importlib.metadata
from functools import partial

from fastapi import APIRouter, Request, Response

from contract.access import Readiness, Version
from service.api.problems import RETRY_SECONDS
from service.api.services import Served, Services
from service.api.shared import Shared
from service.domain.errors import StagetuneError
from service.usecases.check_readiness import check_readiness, database_version

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def check_health() -> dict[str, str]:
    """The process answers; nothing else is looked at."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready; `checks` says why"}})
async def check_ready(request: Request, response: Response, services: Served) -> Readiness:
    """Whether the database answers at the right revision, planner and reaper are alive and artifacts can be stored.

    The answer may be a second old.
    """
    shared: Shared[dict[str, str]] = request.app.state.readiness
    checks = await shared.get(partial(_check, services))
    ready = all(state == "ok" for state in checks.values())
    if not ready:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return Readiness(ready=ready, checks=checks)


def _check(services: Services) -> dict[str, str]:
    checks = check_readiness(services.store, services.settings.reaper_seconds)
    checks["artifacts"] = services.artifacts.trouble() or "ok"
    return checks


@router.get("/version")
async def show_version(request: Request, services: Served) -> Version:
    """What is running."""
    shared: Shared[str] = request.app.state.database_version
    database = await shared.get(partial(_database_version, services))
    return Version(version=installed_version(), optuna=importlib.metadata.version("optuna"), database=database)


def _database_version(services: Services) -> str:
    try:
        return database_version(services.store)
    except StagetuneError:
        return "unavailable"


def installed_version() -> str:
    """The version of this package, also when it runs from a checkout that nobody installed."""
    try:
        return importlib.metadata.version("stagetune")
    except importlib.metadata.PackageNotFoundError:
        return "0+checkout"
