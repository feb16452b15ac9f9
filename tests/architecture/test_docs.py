"""What the documentation lists must be what the code has."""

import re
from pathlib import Path
from typing import get_args

from client.exitcodes import ExitCode
from contract.problems import ProblemType
from service.api.problems import STATUS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_problem_type_is_documented_with_its_status() -> None:
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", (DOCS / "errors.md").read_text(), re.MULTILINE))
    assert set(listed) == set(get_args(ProblemType))
    assert listed == {code: str(status) for code, status in STATUS.items()}


def test_every_exit_code_is_documented() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \| ", (DOCS / "errors.md").read_text(), re.MULTILINE)}
    assert {int(code) for code in ExitCode} <= listed


def test_every_link_between_documents_leads_somewhere() -> None:
    for document in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"
