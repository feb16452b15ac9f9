"""Reports as files, compared with files that were looked at."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from client.rendering.files import write_csv, write_latex, write_markdown, write_text
from contract.experiments import Report
from tests.client.builders import report, variant

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("report.txt", write_text),
        ("report.csv", write_csv),
        ("report.md", write_markdown),
        ("report.tex", write_latex),
    ],
)
def test_a_report_is_written_as_it_always_was(name: str, write: Callable[[Report], str]) -> None:
    assert write(report()) == (GOLDEN / name).read_text(encoding="utf-8")


def test_csv_carries_full_precision_and_keeps_formulas_from_running() -> None:
    rows = list(csv.DictReader(io.StringIO(write_csv(report()))))

    assert rows[1]["learning_rate"] == "0.0123;0.1"
    assert rows[1]["regularization"] == "0.00034;1e-06"
    assert rows[1]["test_accuracy_low"] == "0.88"
    assert rows[2]["architecture"] == "'=A|B_50% {x}"
    assert rows[2]["test_accuracy"] == ""


def test_markdown_rows_all_have_the_same_number_of_cells() -> None:
    table = [line for line in write_markdown(report()).splitlines() if line.startswith("|")]

    assert {line.replace(r"\|", "").count("|") for line in table} == {11}


def test_latex_rows_all_have_the_same_number_of_cells() -> None:
    rows = [line for line in write_latex(report()).splitlines() if line.endswith(r"\\")]

    assert {line.replace(r"\&", "").count("&") for line in rows} == {10}


def test_phases_become_a_column_of_their_own() -> None:
    stages = report().variants[0].stages
    two = report(variants=[variant("CNN 1", "total", stages), variant("CNN 1", "total", stages, phase=1, epochs=3)])

    assert [row["phase"] for row in csv.DictReader(io.StringIO(write_csv(two)))] == ["1", "2"]
    assert "| phase | variant |" in write_markdown(two)
    assert "Phase & Variant" in write_latex(two)
    assert write_text(two).splitlines()[3].split()[:3] == ["phase", "epochs", "variant"]
