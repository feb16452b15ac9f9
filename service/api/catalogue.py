"""What there is to submit against: workers, data sets, presets, and the schema of a submission."""

from typing import Annotated

from fastapi import APIRouter, Path

from contract.experiments import DatasetView, PresetView, WorkerView
from contract.submission import submission_schema
from service import presets
from service.api.auth import READ, GuardedRoute
from service.api.problems import responses
from service.api.services import Served
from service.usecases.list_datasets import list_datasets
from service.usecases.list_workers import list_workers

router = APIRouter(prefix="/v1", route_class=GuardedRoute, tags=["catalogue"], dependencies=[READ])


@router.get("/workers")
def workers(services: Served) -> list[WorkerView]:
    """Workers seen within a day, those online first."""
    return [WorkerView.model_validate(view) for view in list_workers(services.store, services.settings.lease_seconds)]


@router.get("/datasets")
def datasets(services: Served) -> list[DatasetView]:
    """Data sets that are built in or held by a worker."""
    return [DatasetView.model_validate(view) for view in list_datasets(services.store, services.settings.lease_seconds)]


@router.get("/presets")
def all_presets() -> list[PresetView]:
    """Submissions that ship with the service."""
    return [PresetView.model_validate(view) for view in presets.list_presets()]


@router.get("/presets/{name}", responses=responses("not-found"))
def preset(name: Annotated[str, Path(max_length=200)]) -> PresetView:
    """A submission that ships with the service, to copy and edit."""
    return PresetView.model_validate(presets.get_preset(name))


@router.get("/schemas/submission")
def schema_of_submission() -> dict[str, object]:
    """JSON Schema of a submission; editors check and complete YAML with it."""
    return submission_schema()
