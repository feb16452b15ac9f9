"""The description that clients are generated from, with what FastAPI cannot know about our routes."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from contract.submission import Submission
from service.api.problems import MEDIA_TYPE

_REF = "#/components/schemas/{model}"
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
    for operations in schema["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if _refers_to_problem(response):
                    response["content"] = {MEDIA_TYPE: _PROBLEM}
                elif status in ("200", "201"):
                    response["description"] = response["description"].replace("Successful Response", "Done")
    return schema


def _refers_to_problem(response: dict[str, Any]) -> bool:
    return bool(response.get("content", {}).get("application/json", {}) == _PROBLEM)
