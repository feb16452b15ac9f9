"""What the documentation lists must be what the code has."""

import re
from pathlib import Path
from typing import get_args

import pytest

from client.console import report_error
from client.errors import from_problem
from client.exitcodes import ExitCode
from contract.problems import Problem, ProblemType
from contract.tasks import FailureReason
from service.api.explanations import EXPLANATIONS
from service.api.problems import STATUS, of_error
from service.api.submissions import read_submission, understand
from service.domain import leasing
from service.domain.datasets import known
from service.domain.errors import InvalidSubmission
from service.domain.experiment import Dataset

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_problem_type_is_documented_with_its_status() -> None:
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", (DOCS / "errors.md").read_text(), re.MULTILINE))
    assert set(listed) == set(get_args(ProblemType))
    assert listed == {code: str(status) for code, status in STATUS.items()}


def test_the_pages_of_problem_types_say_what_the_documentation_says() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| \d{3} \| (.*) \| (.*) \|$", (DOCS / "errors.md").read_text(), re.MULTILINE)
    plain = {code: tuple(re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text) for text in texts) for code, *texts in rows}
    assert plain == EXPLANATIONS


@pytest.mark.parametrize(
    ("document", "heading"), [("errors.md", "## Of a training"), ("worker-protocol.md", "## Failures")]
)
def test_every_reason_of_a_failure_is_documented(document: str, heading: str) -> None:
    (section,) = re.findall(rf"^{heading}$(.*?)(?=^## |\Z)", (DOCS / document).read_text(), re.MULTILINE | re.DOTALL)
    firsts = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    listed = [reason for first in firsts for reason in re.findall(r"`([a-z-]+)`", first)]
    assert sorted(listed) == sorted(get_args(FailureReason))
    assert set(listed) == set(leasing.FailureReason)


def test_every_exit_code_is_documented() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \| ", (DOCS / "errors.md").read_text(), re.MULTILINE)}
    assert {int(code) for code in ExitCode} <= listed


def test_every_link_between_documents_leads_somewhere() -> None:
    for document in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_refusal_that_the_readme_shows_is_the_one_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (DOCS.parent / "README.md").read_text()
    (submission,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    submission = submission.replace("Pool-2, Conv-3-32 ", "Pool-2, Conv-3 ")
    submission += "search: {space: {learning_rate: {low: 0, high: 0.1}}}\n"

    with pytest.raises(InvalidSubmission) as refused:
        understand(read_submission(submission.encode(), "application/yaml"), cifar10)
    report_error(from_problem(Problem.model_validate_json(bytes(of_error(refused.value).body))))

    assert f"$ stagetune submit experiment.yaml\n{capsys.readouterr().err}```" in readme


def cifar10(name: str) -> Dataset:
    catalogued = known(name)
    assert catalogued is not None
    dataset = catalogued.dataset()
    assert dataset is not None
    return dataset
