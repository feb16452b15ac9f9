"""What is shipped: the wheel, its dependencies, the compose file."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The last version with a hole, and what it let in.
HOLES = {
    "starlette": "1.0.0",  # CVE-2026-48710: a malformed Host led past authorisation by path
    "h11": "0.15.0",  # CVE-2025-43859: bodies in chunks that a proxy reads otherwise
    "torch": "2.9.1",  # CVE-2026-24747: code in a pickled checkpoint; ours are never pickled
}
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|_KEY")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked as an installation would be."""
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    [built] = place.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(place / "installed")
    return place / "installed"


def test_an_installed_server_finds_its_migrations(wheel: Path) -> None:
    code = "from service.storage import migrations; print(migrations.scripts(), migrations.head())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=wheel,
        env=os.environ | {"PYTHONPATH": str(wheel)},
        check=True,
        capture_output=True,
        text=True,
    )
    scripts, head = run.stdout.split()
    assert Path(scripts) == wheel / "service" / "_alembic"
    assert list((Path(scripts) / "versions").glob(f"{head}*.py"))


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    tops = {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")}
    assert tops == {"client", "contract", "service", "worker"}
    for top in sorted(tops):
        kept = {
            path.relative_to(ROOT)
            for path in (ROOT / top).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert {path for path in kept if not (wheel / path).exists()} == set()


def test_every_dependency_is_pinned_to_a_version_its_range_takes() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == sorted(lines, key=lambda line: line.split("==")[0])
    pinned = pins()
    for wanted in requirements():
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), str(wanted)


def test_what_they_need_in_turn_is_pinned_and_installed_so() -> None:
    pinned, seen = pins(), set[tuple[str, frozenset[str]]]()
    waiting = [(wanted, "stagetune") for wanted in requirements()]
    while waiting:
        wanted, by = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name not in pinned:
            assert by == "torch", f"{wanted} of {by}: what only a torch for GPUs brings is its own to choose"
            continue
        assert importlib.metadata.version(name).partition("+")[0] == pinned[name], name
        asked = map(Requirement, importlib.metadata.requires(name) or [])
        waiting += [(each, name) for each in asked if applies(each, extras)]
    assert len(seen) > len(requirements())


def applies(wanted: Requirement, extras: frozenset[str]) -> bool:
    """Whether a requirement is one on this machine, of a package that is installed with some extras."""
    return wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras))


@pytest.mark.parametrize(("name", "version"), HOLES.items())
def test_no_version_with_a_known_hole_is_taken(name: str, version: str) -> None:
    [wanted] = [wanted for wanted in requirements() if canonicalize_name(wanted.name) == name]
    assert not wanted.specifier.contains(version)


def pins() -> dict[str, str]:
    """Exact versions by name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def requirements() -> list[Requirement]:
    """What the project and its extras ask for; an extra that takes another one in asks for nothing itself."""
    texts = [*PROJECT["dependencies"], *(text for extra in PROJECT["optional-dependencies"].values() for text in extra)]
    return [wanted for wanted in map(Requirement, texts) if wanted.name != PROJECT["name"]]


class TestCompose:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

    def test_holds_no_secret(self) -> None:
        for service in self.compose["services"].values():
            assert [
                key for key in service.get("environment", {}) if SECRET.search(key) and not key.endswith("_FILE")
            ] == []

    def test_publishes_on_loopback_only(self) -> None:
        ports = [port for service in self.compose["services"].values() for port in service.get("ports", [])]
        assert ports
        assert [port for port in ports if not port.startswith("127.0.0.1:")] == []

    def test_names_the_image_after_this_version(self) -> None:
        assert self.compose["x-stagetune"]["image"] == f"stagetune:{PROJECT['version']}"

    def test_every_service_comes_back_and_only_the_database_is_root(self) -> None:
        for name, service in self.compose["services"].items():
            assert service["restart"] == "unless-stopped"
            assert name == "db" or service["cap_drop"] == ["ALL"]
