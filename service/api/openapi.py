"""The description that clients are generated from, with what FastAPI cannot know about our routes."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from contract.submission import Submission
from service.api.problems import MEDIA_TYPE

_REF = "#/components/schemas/{model}"
# What the answer of an operation makes possible: parameters of further operations, by where they stand in it.
_OF_AN_EXPERIMENT = (
    "show_experiment", "pause", "resume", "cancel", "report", "follow_events", "embed", "embeddings",
)  # fmt: skip
_EMBEDDING = {"experiment": "$request.path.experiment", "embedding": "$response.body#/id"}
_LINKS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "create_token": {"revoke_token": {"token": "$response.body#/id"}},
    "submit": {name: {"experiment": "$response.body#/id"} for name in _OF_AN_EXPERIMENT},
    "embed": {"show_embedding": _EMBEDDING},
    "register": {"depart": {"worker": "$request.path.worker"}},
    "upload_artifact": {name: {"sha256": "$response.body#/sha256"} for name in ("download_artifact", "find_artifact")},
}
_PROBLEM = {"schema": {"$ref": _REF.format(model="Problem")}}


def describe(app: FastAPI) -> None:
    """Let ``app`` describe itself: submissions may be YAML, and problems have a media type of their own."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _build(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes
    )
    submission = Submission.model_json_schema(ref_template=_REF)
    models = schema["components"]["schemas"]
    models.update(submission.pop("$defs", {}))
    models["Submission"] = submission
    for model in models.values():
        _close(model)
    for operations in schema["paths"].values():
        for operation in operations.values():
            _link(operation)
            for status, response in operation["responses"].items():
                if _refers_to_problem(response):
                    response["content"] = {MEDIA_TYPE: _PROBLEM}
                elif status in ("200", "201"):
                    response["description"] = response["description"].replace("Successful Response", "Done")
    return schema


def _link(operation: dict[str, Any]) -> None:
    for name, parameters in _LINKS.get(operation["operationId"], {}).items():
        for status, response in operation["responses"].items():
            if status in ("200", "201", "202"):
                link = {"operationId": name, "parameters": dict(parameters)}
                response.setdefault("links", {})[name] = link


def _close(schema: Any) -> None:
    """Say that a mapping takes no keys but those of its pattern, as pydantic has it but does not say."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            schema.setdefault("additionalProperties", False)
        for inner in schema.values():
            _close(inner)
    elif isinstance(schema, list):
        for inner in schema:
            _close(inner)


def _refers_to_problem(response: dict[str, Any]) -> bool:
    return bool(response.get("content", {}).get("application/json", {}) == _PROBLEM)
