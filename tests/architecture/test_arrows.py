"""The import rules of pyproject.toml, shown to break: a made-up project holds one forbidden import of each kind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ALLOWED = {
    "contract/tasks.py": "import pydantic",
    "client/cli.py": "import service.app\nimport worker.agent",
    "service/app.py": "import fastapi, service.api.routes, service.storage.engine, service.tuning.suggest",
    "service/api/routes.py": "import fastapi\nimport contract.tasks\nimport service.usecases.lease_task",
    "service/api/dashboard.py": "import a2wsgi\nimport optuna_dashboard",
    "service/usecases/lease_task.py": "import service.storage.engine, service.tuning.suggest, service.domain.plan",
    "service/storage/engine.py": "import sqlalchemy.orm\nimport alembic.command\nimport service.domain.plan",
    "service/tuning/suggest.py": "import optuna.samplers\nimport torch\nimport service.domain.plan",
    "service/domain/plan.py": "import dataclasses",
    "service/domain/statistics.py": "import scipy.stats",
    "worker/agent.py": "import contract.tasks\nimport worker.client\nimport worker.training.loop",
    "worker/client.py": "import httpx",
    "worker/training/loop.py": "import torch",
}

FORBIDDEN = [
    # contract, importing module, what it imports
    ("contract imports the standard library", "contract.a", "sqlalchemy"),
    ("contract imports the standard library", "contract.b", "httpx"),
    ("contract imports the standard library", "contract.c", "torch"),
    ("contract imports the standard library", "contract.d", "service.domain.plan"),
    ("the worker knows nothing of the server", "worker.a", "service.domain.plan"),
    ("the worker knows nothing of the server", "worker.b", "sqlalchemy"),
    ("the worker knows nothing of the server", "worker.c", "optuna"),
    ("the worker knows nothing of the server", "worker.d", "fastapi"),
    ("worker.training is torch and nothing of ours", "worker.training.a", "contract.tasks"),
    ("worker.training is torch and nothing of ours", "worker.training.b", "httpx"),
    ("worker.training is torch and nothing of ours", "worker.training.c", "urllib"),
    ("only worker.client speaks HTTP", "worker.e", "httpx"),
    ("the server knows nothing of the worker", "service.a", "worker.agent"),
    ("in the server only tuning uses torch", "service.usecases.a", "torch"),
    ("the domain has no framework", "service.domain.a", "sqlalchemy"),
    ("the domain has no framework", "service.domain.b", "pydantic"),
    ("the domain has no framework", "service.domain.c", "os"),
    ("the domain has no framework", "service.domain.d", "random"),
    ("the domain has no framework", "service.domain.e", "time"),
    ("the domain has no framework", "service.domain.f", "secrets"),
    ("SQLAlchemy and Alembic are used in storage only", "service.b", "sqlalchemy"),
    ("SQLAlchemy and Alembic are used in storage only", "client.a", "alembic"),
    ("Optuna is used in tuning only", "service.usecases.b", "optuna"),
    ("Optuna is used in tuning only", "client.b", "optuna"),
    ("optuna-dashboard is used by its gate only", "service.api.a", "optuna_dashboard"),
    ("storage and tuning do not know each other", "service.storage.a", "service.tuning.suggest"),
    ("storage and tuning do not know each other", "service.tuning.a", "service.storage.engine"),
    ("use cases know neither the web framework", "service.usecases.c", "fastapi"),
    ("use cases know neither the web framework", "service.usecases.d", "contract.tasks"),
    ("the HTTP edge uses neither SQLAlchemy nor Optuna", "service.api.b", "sqlalchemy"),
    ("the HTTP edge uses neither SQLAlchemy nor Optuna", "service.api.c", "optuna"),
    ("the server's rooms stand on each other", "service.domain.g", "service.usecases.lease_task"),
]


def check(place: Path, modules: dict[str, str]) -> tuple[int, str]:
    """Exit status and report of import-linter over a project of these modules, by the contracts of this one."""
    for name, source in modules.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source + "\n")
        for folder in path.relative_to(place).parents:
            if folder != Path():
                (place / folder / "__init__.py").touch()
    shutil.copy(ROOT / "pyproject.toml", place)
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(place), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


@pytest.fixture(scope="module")
def broken_chapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is reported below the name of each broken contract."""
    inside_a_function = {
        f"{module.replace('.', '/')}.py": f"def late():\n    import {target}" for _, module, target in FORBIDDEN
    }
    status, report = check(tmp_path_factory.mktemp("broken"), ALLOWED | inside_a_function)
    assert status == 1, report
    chapters: dict[str, str] = {}
    lines = report.partition("Broken contracts")[2].splitlines()
    title = ""
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if following and not following.strip("-"):
            title = line
        chapters[title] = chapters.get(title, "") + line + "\n"
    return chapters


def test_a_project_as_designed_keeps_every_contract(tmp_path: Path) -> None:
    status, report = check(tmp_path, ALLOWED)
    assert status == 0, report
    assert "0 broken" in report


@pytest.mark.parametrize(("contract", "module", "target"), FORBIDDEN, ids=lambda value: value.partition(" ")[0])
def test_a_forbidden_import_is_found(broken_chapters: dict[str, str], contract: str, module: str, target: str) -> None:
    [chapter] = [text for title, text in broken_chapters.items() if title.startswith(contract)]
    assert f"{module} -> {target}" in chapter
