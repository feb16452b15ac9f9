"""The page. It reads what it shows from /v1 in the browser, so that both always say the same."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from service.api.auth import identify_request, note_refusal
from service.api.explanations import EXPLANATIONS
from service.api.guard import PAGE_POLICY
from service.api.problems import STATUS, TITLES
from service.api.services import Served
from service.domain.access import Scope
from service.domain.errors import Forbidden, NotFound, Unauthenticated
from service.usecases.look_up import get_experiment

FOLDER = Path(__file__).parent
ASSETS = "/assets"

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
_templates = Jinja2Templates(directory=FOLDER / "templates")


def _code(text: str) -> Markup:
    """Text with what stands between backticks set as code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(text.split("`"))
    )


_templates.env.filters["code"] = _code


class LoginNeeded(Exception):
    """A page was asked for without a session."""


def visitor(request: Request, services: Served) -> None:
    """Route dependency: a session or a reading token, else the way to the login."""
    try:
        identity = identify_request(services, request)
    except Unauthenticated:
        raise LoginNeeded from None
    if Scope.READ not in identity.scope.granted:
        note_refusal(request, identity, "page", Forbidden())
        raise LoginNeeded


Visitor = Annotated[None, Depends(visitor)]


def add_pages(app: FastAPI) -> None:
    """Serve the page and its files."""
    app.include_router(router)
    app.mount(ASSETS, StaticFiles(directory=FOLDER / "static"), name="assets")
    app.add_exception_handler(LoginNeeded, _to_login)


@router.get("/login")
def login(request: Request) -> Response:
    """Takes a one-time code from the fragment of the address, or typed in."""
    return _page(request, "login.html")


@router.get("/problems/{kind}")
def problem(kind: str, request: Request) -> Response:
    """What a type of problem means, for those who follow it out of an answer. Open to everybody, as the answers are."""
    for code, explanation in EXPLANATIONS.items():
        if code == kind:
            told = {"title": TITLES[code], "answered": STATUS[code], **explanation._asdict()}
            return _page(request, "problem.html", kind=code, **told)
    raise NotFound("there is no such type of problem")


@router.get("/")
def experiments(request: Request, _: Visitor, services: Served) -> Response:
    """All experiments, newest first."""
    return _page(request, "experiments.html", dashboard=services.settings.dashboard)


@router.get("/experiments/{experiment}")
def experiment(experiment: str, request: Request, _: Visitor, services: Served) -> Response:
    """One experiment, live."""
    dashboard = services.settings.dashboard
    try:
        found = get_experiment(services.store, UUID(experiment))
    except (ValueError, NotFound):
        return _page(request, "missing.html", 404, dashboard=dashboard)
    return _page(request, "experiment.html", experiment=found, dashboard=dashboard)


@router.get("/studies/{name:path}")
def study(name: str, _: Visitor, services: Served) -> Response:
    """The study of a stage search in optuna-dashboard, which only knows numbers; its list if there is none yet."""
    # PostgreSQL takes no NUL, and no study of ours has a name that cannot be printed.
    number = services.find_study(name) if name.isprintable() else None
    return RedirectResponse("/dashboard" if number is None else f"/dashboard/studies/{number}", status_code=303)


def _page(request: Request, template: str, status: int = 200, **context: object) -> Response:
    answer = _templates.TemplateResponse(request, template, {"assets": ASSETS, **context}, status)
    answer.headers["Content-Security-Policy"] = PAGE_POLICY
    return answer


def _to_login(request: Request, _: Exception) -> Response:
    return RedirectResponse(f"/login?next={quote(request.scope['path'])}", status_code=303)
