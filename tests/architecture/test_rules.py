"""Rules that import-linter cannot see, over the source tree; each is also shown to catch what it forbids."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("contract", "service", "worker", "client")
LONGEST_MODULE = 400

# The unit of work; the migrations, which hold a lock over several transactions before any server runs.
MAY_COMMIT = {"service/storage/engine.py", "service/storage/migrations.py", "alembic/env.py"}
UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
# What opens connections to others. PostgreSQL and the bucket of artifacts are reached through libraries of their own.
CALLERS = {
    "aiohttp", "ftplib", "http.client", "httpx", "huggingface_hub", "poplib", "requests", "smtplib", "telnetlib",
    "urllib.request", "urllib3", "websockets", "xmlrpc",
}  # fmt: skip
REGISTRIES = ("pypi", "pythonhosted", "download.pytorch", "conda.anaconda", "npmjs", "jsdelivr", "unpkg")
MADE_HERE = {
    ".git",
    ".venv",
    ".cache",
    ".hypothesis",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".import_linter_cache",
    "dist",
    "build",
}

Rule = Callable[[ast.AST], bool]


def sources(*folders: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py"))


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def commits(tree: ast.AST) -> bool:
    """Calls commit() or opens a transaction of its own outside the unit of work."""
    return any(
        isinstance(call.func, ast.Attribute) and call.func.attr in {"commit", "begin", "begin_nested"}
        for call in calls(tree)
    )


def unpickles(tree: ast.AST) -> bool:
    """Reads or writes anything by pickle."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(item.name.partition(".")[0] in UNPICKLERS for item in names):
                return True
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in UNPICKLERS:
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load" | "save")):
                return True
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                return True
            case ast.ImportFrom(module="torch", names=names) if any(item.name in {"load", "save"} for item in names):
                return True
    return False


def calls_out(tree: ast.AST) -> bool:
    """Opens a connection to an address of somebody else's choice, or imports what can."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(_is_caller(item.name) for item in names):
                return True
            case ast.ImportFrom(module=str(module), names=names):
                if _is_caller(module) or any(_is_caller(f"{module}.{item.name}") for item in names):
                    return True
            case ast.Call(func=ast.Attribute(attr="create_connection" | "open_connection" | "urlopen")):
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id="socket"), attr="socket")):
                return True
    return False


def _is_caller(module: str) -> bool:
    return any(module == caller or module.startswith(f"{caller}.") for caller in CALLERS)


def looks_outside(tree: ast.AST) -> bool:
    """Asks the clock, the terminal or the disk: what the domain gets as arguments."""
    for call in calls(tree):
        match call.func:
            case ast.Attribute(attr="now" | "utcnow" | "today" | "uuid1" | "uuid4" | "getenv"):
                return True
            case ast.Name(id="open" | "print" | "input" | "uuid4"):
                return True
    return False


def reads_a_clock(tree: ast.AST) -> bool:
    """Asks this machine what time it is: leases, strikes and amnesties go by the database's clock alone."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="utcnow" | "today")):
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id="datetime" | "date"), attr="now")):
                return True
            case ast.Import(names=names) if any(item.name == "time" for item in names):
                return True
            case ast.ImportFrom(module="time"):
                return True
    return False


def offenders(rule: Rule, names: list[str]) -> list[str]:
    return [name for name in names if rule(ast.parse((ROOT / name).read_text(), name))]


# How long a connection of this process has rested is nobody else's business.
ALLOWED: dict[Rule, set[str]] = {commits: MAY_COMMIT, reads_a_clock: {"service/storage/liveness.py"}}


@pytest.mark.parametrize(
    ("rule", "folders"),
    [
        (commits, ("service", "alembic")),
        (unpickles, (*PACKAGES, "alembic")),
        (looks_outside, ("service/domain",)),
        (reads_a_clock, ("service/domain", "service/storage", "service/usecases")),
        (calls_out, ("service", "contract")),
    ],
)
def test_the_code_keeps_the_rule(rule: Rule, folders: tuple[str, ...]) -> None:
    names = sources(*folders)
    assert names
    assert [name for name in offenders(rule, names) if name not in ALLOWED.get(rule, set())] == []


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (commits, "connection.commit()"),
        (commits, "with engine.begin() as connection: pass"),
        (unpickles, "import pickle"),
        (unpickles, "from joblib import load"),
        (unpickles, "torch.load(path)"),
        (unpickles, "numpy.load(path, allow_pickle=True)"),
        (calls_out, "import urllib.request"),
        (calls_out, "from urllib import request"),
        (calls_out, "from httpx import get"),
        (calls_out, "import requests.sessions"),
        (calls_out, "socket.create_connection(address)"),
        (calls_out, "socket.socket()"),
        (looks_outside, "datetime.now(UTC)"),
        (reads_a_clock, "datetime.now(UTC)"),
        (reads_a_clock, "import time"),
        (reads_a_clock, "from time import time"),
        (looks_outside, "open(path)"),
        (looks_outside, "uuid.uuid4()"),
    ],
)
def test_the_rule_catches(rule: Rule, code: str) -> None:
    assert rule(ast.parse(code))


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    # A migration is history: it is one step, however long, and is never edited again.
    long = {
        name: lines
        for name in sources(*PACKAGES, "tests")
        if (lines := len((ROOT / name).read_text().splitlines())) > LONGEST_MODULE
    }
    assert long == {}


def test_the_migrations_folder_does_not_shadow_the_library() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()


def test_tests_are_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_no_file_names_a_package_registry() -> None:
    hosts = tuple(f"{name}.{end}" for name in REGISTRIES for end in ("org", "com", "net"))
    found = []
    for path in sorted(ROOT.rglob("*")):
        if (
            path.is_file()
            and not MADE_HERE.intersection(path.relative_to(ROOT).parts)
            and "__pycache__" not in path.parts
        ):
            text = path.read_bytes()
            found += [f"{path.relative_to(ROOT)}: {host}" for host in hosts if host.encode() in text]
    assert found == []
