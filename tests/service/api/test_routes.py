import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from optuna.storages import InMemoryStorage
from optuna_dashboard import wsgi
from starlette.routing import Mount, WebSocketRoute

from service.api import dashboard
from service.api.auth import GuardedRoute, Requires
from service.app import create_app
from service.pages.routes import visitor
from service.settings import Settings

# Open to everybody; any other route says who may call it.
PUBLIC = {
    "GET /healthz", "GET /readyz", "GET /version", "GET /openapi.json", "HEAD /openapi.json",
    "GET /login", "GET /problems/{kind}", "POST /v1/login", "POST /v1/logout",
}  # fmt: skip
# Applications that are mounted, open to everybody, with one address below each.
MOUNTS = {"/assets": "/assets/common.js"}
SCOPES = {
    "POST /v1/tokens": "admin",
    "GET /v1/tokens": "admin",
    "DELETE /v1/tokens/{token}": "admin",
    "POST /v1/login-codes": "admin",
    "GET /v1/audit": "admin",
    "POST /v1/plans": "submit",
    "POST /v1/experiments": "submit",
    "GET /v1/experiments": "read",
    "GET /v1/experiments/{experiment}": "read",
    "DELETE /v1/experiments/{experiment}": "admin",
    "POST /v1/experiments/{experiment}/pause": "submit",
    "POST /v1/experiments/{experiment}/resume": "submit",
    "POST /v1/experiments/{experiment}/cancel": "submit",
    "POST /v1/experiments/{experiment}/retry": "submit",
    "GET /v1/experiments/{experiment}/failures": "read",
    "GET /v1/experiments/{experiment}/report": "read",
    "GET /v1/experiments/{experiment}/network": "read",
    "POST /v1/experiments/{experiment}/embeddings": "submit",
    "GET /v1/experiments/{experiment}/embeddings": "read",
    "GET /v1/experiments/{experiment}/embeddings/{embedding}": "read",
    "GET /v1/experiments/{experiment}/events": "read",
    "GET /v1/searches/{search}": "read",
    "GET /v1/searches/{search}/trials": "read",
    "GET /v1/workers": "read",
    "POST /v1/workers/{worker}/drain": "admin",
    "POST /v1/workers/{worker}/undrain": "admin",
    "GET /v1/datasets": "read",
    "GET /v1/presets": "read",
    "GET /v1/presets/{name}": "read",
    "GET /v1/schemas/submission": "read",
    "PUT /v1/worker/workers/{worker}": "worker",
    "DELETE /v1/worker/workers/{worker}": "worker",
    "POST /v1/worker/leases": "worker",
    "POST /v1/worker/tasks/{task}/attempts/{attempt}/heartbeat": "worker",
    "PUT /v1/worker/tasks/{task}/attempts/{attempt}/result": "worker",
    "PUT /v1/worker/tasks/{task}/attempts/{attempt}/snapshot": "worker",
    "PUT /v1/worker/tasks/{task}/attempts/{attempt}/failure": "worker",
    "POST /v1/worker/tasks/{task}/attempts/{attempt}/release": "worker",
    "PUT /v1/worker/artifacts/{sha256}": "worker",
    "GET /v1/artifacts/{sha256}": "read worker",
    "HEAD /v1/artifacts/{sha256}": "read worker",
    "GET /": "page",
    "GET /experiments/{experiment}": "page",
    "GET /studies/{name:path}": "page",
    **{f"{method} {path}": "dashboard" for path in dashboard.PATHS for method in ("GET", "HEAD")},
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """Without its lifespan: only what is routed matters here."""
    return create_app(Settings.load(home=tmp_path_factory.mktemp("home")))


def routes(app: FastAPI) -> Iterator[tuple[str, Any]]:
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, Mount):
            # Neither mounts nor anything else that answers without naming methods stays out of the tables.
            assert context.methods, context.original_route
            for method in sorted(context.methods):
                yield f"{method} {context.path}", context.original_route


def mounts(app: FastAPI) -> set[str]:
    found = (context.original_route for context in iter_route_contexts(app.routes))
    return {route.path for route in found if isinstance(route, Mount)}


def test_every_route_declares_who_may_call_it(app: FastAPI) -> None:
    found = {}
    for name, route in routes(app):
        if isinstance(getattr(route, "endpoint", None), dashboard.Gate):
            found[name] = "dashboard"
        elif isinstance(route, APIRoute):
            guards = [d.dependency for d in route.dependencies if isinstance(d.dependency, Requires)]
            if guards:
                # Otherwise the body would be read before anybody asks.
                assert isinstance(route, GuardedRoute), name
                found[name] = " ".join(sorted(scope for guard in guards for scope in guard.scopes))
            elif any(dependency.call is visitor for dependency in route.dependant.dependencies):
                found[name] = "page"
            else:
                found[name] = "nobody asked"
        else:
            found[name] = "nobody asked"
    assert {name for name, scope in found.items() if scope == "nobody asked"} == PUBLIC
    assert {name: scope for name, scope in found.items() if scope != "nobody asked"} == SCOPES


def test_every_mounted_application_is_known_by_its_name(app: FastAPI) -> None:
    assert mounts(app) == MOUNTS.keys()
    app.mount("/more", FastAPI())
    assert mounts(app) == MOUNTS.keys() | {"/more"}
    app.router.routes.pop()
    app.router.routes.append(WebSocketRoute("/live", lambda _: None))
    with pytest.raises(AssertionError):
        list(routes(app))
    app.router.routes.pop()


def test_the_gate_lets_through_exactly_what_the_dashboard_has_to_read() -> None:
    application: Any = wsgi(InMemoryStorage())
    reading = {route.rule for route in application.routes if route.method == "GET"}
    through = {
        "/dashboard<:re:(/.*)?>", "/favicon.ico", "/static/<filename:path>", "/api/meta", "/api/studies",
        "/api/studies/<study_id:int>", "/api/studies/<study_id:int>/param_importances",
        "/api/studies/<study_id:int>/plot/<plot_type>", "/csv/<study_id:int>",
    }  # fmt: skip
    kept_out = {
        "/",  # our own page
        "/incompatible-rdb-schema",  # offers to migrate
        "/artifacts/<study_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
        "/artifacts/<study_id:int>/<trial_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
    }
    assert reading == through | kept_out


def test_the_description_is_complete_enough_to_generate_a_client_from(app: FastAPI) -> None:
    schema = app.openapi()
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    names = [operation["operationId"] for _, operation in operations]
    assert len(set(names)) == len(names)
    for name, operation in operations:
        assert operation.get("description"), name
        if name not in PUBLIC:
            assert operation["security"], name
            assert "application/problem+json" in operation["responses"]["4XX"]["content"], name
    body = schema["paths"]["/v1/experiments"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/yaml", "application/json"}
    for name, model in schema["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(model)
        assert model.get("title") or model.get("type"), name
    references = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(schema)))
    assert references <= schema["components"]["schemas"].keys()
    document = {"$ref": "#/components/schemas/Submission", "components": schema["components"]}
    minimal = {"name": "a", "dataset": {"name": "digits"}, "architectures": {"CNN 1": ["Conv-3-8"]}}
    jsonschema.validate(minimal, document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**minimal, "sead": 1}, document)


def test_no_page_of_fastapi_that_needs_a_foreign_server(app: FastAPI) -> None:
    paths = {name for name, _ in routes(app)}
    assert not any("docs" in path for path in paths)
    for path in Path("service/pages").rglob("*.*"):
        if path.suffix in (".html", ".css", ".js"):
            assert not re.search(r"https?://|(src|href)=.//|(url|from|import|fetch)\W+//", path.read_text()), path


def test_every_link_names_an_operation_and_parameters_of_it(app: FastAPI) -> None:
    operations = [operation for methods in app.openapi()["paths"].values() for operation in methods.values()]
    parameters = {
        operation["operationId"]: {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
        for operation in operations
    }
    links = [
        link
        for operation in operations
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert links
    for link in links:
        assert link["parameters"].keys() == parameters[link["operationId"]], link
