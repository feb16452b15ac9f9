"""What is shipped: the wheel, its dependencies, the compose file."""

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
    pins = dict(line.split("==") for line in lines)
    assert lines == sorted(lines, key=lambda line: line.split("==")[0])
    extras = PROJECT["optional-dependencies"]
    for text in PROJECT["dependencies"] + extras["export"] + extras["dev"]:
        wanted = Requirement(text)
        if wanted.name == PROJECT["name"]:
            # One extra that takes another one in.
            continue
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), text


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
