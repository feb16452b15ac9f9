"""Reports as files, compared with files that were looked at."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from client.rendering.files import write_csv, write_markdown, write_text
from client.rendering.latex import write_latex
from contract.experiments import Report
from tests.client.builders import report, variant
from tests.client.rich import layered_report, rich_report

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


@pytest.mark.parametrize(
    ("name", "write"), [("rich.txt", write_text), ("rich.csv", write_csv), ("rich.md", write_markdown)]
)
def test_everything_a_report_may_hold_is_written(name: str, write: Callable[[Report], str]) -> None:
    assert write(rich_report()) == (GOLDEN / name).read_text(encoding="utf-8")


def test_every_format_tells_what_every_layer_was_trained_with() -> None:
    found = layered_report()
    layered, geometric = "3.4e-3, 1.0e-2, head 5.6e-2 / 2.0e-4, 3.0e-4, head 1.0e-3", "1.2e-2 × 0.5^k / 3.0e-4 × 2^k"

    for shown in (write_text(found), write_markdown(found)):
        assert layered in shown
        assert geometric in shown
        assert "times f in each further one and in the head" in shown
    latex = write_latex(found)
    assert r"& $3.4 \cdot 10^{-3}$, $1.0 \cdot 10^{-2}$, head $5.6 \cdot 10^{-2}$ &" in latex
    assert r"& $1.2 \cdot 10^{-2}$ $\times 0.5^k$ & $3.0 \cdot 10^{-4}$ $\times 2^k$ &" in latex
    assert "one for each of its convolutions, then the head's" in latex
    (row,) = csv.DictReader(io.StringIO(write_csv(found)))
    assert row["learning_rate"] == "0.056;0.012"
    first, second = row["more_hyperparameters"].split(";")
    assert first.split()[0] == "learning_rate_10=0.01"
    assert second == "learning_rate_factor=0.5 regularization_factor=2.0"


def test_training_times_are_means_over_the_seeds_everywhere() -> None:
    found = rich_report(phases=1)

    for shown in (write_text(found), write_markdown(found)):
        assert "28.5 s ± 0.90 s" in shown
    assert r"28.5 s $\pm$ 0.90 s" in write_latex(found)
    row = next(csv.DictReader(io.StringIO(write_csv(found))))
    assert [row[f"training_seconds{end}"] for end in ("", "_low", "_high")] == ["28.5", "27.6", "29.4"]
    paper = next(text for text in write_markdown(found).splitlines() if text.startswith("| time (s) | paper |"))
    ours = write_markdown(found).splitlines()[write_markdown(found).splitlines().index(paper) + 1]
    assert ours.startswith("|  | ours | 28.50 |")


def test_the_papers_tables_stand_beside_ours_in_its_layout() -> None:
    shown = write_text(rich_report(phases=2))

    assert "Table 2 of the paper (1 epoch) and ours" in shown
    table = shown[shown.index("Table 3 of the paper (2 epochs) and ours") :].splitlines()
    assert table[1].split()[:7] == ["result", "CNN", "1", "total", "CNN", "2", "partial"]
    paper = next(number for number, line in enumerate(table) if line.startswith("validation accuracy"))
    assert table[paper].split()[2:5] == ["paper", "0.540", "0.530"]
    assert table[paper + 1].split()[:3] == ["ours", "0.510", "0.582"]


def test_two_phases_at_the_same_epochs_are_two_tables_beside_the_same_published_one() -> None:
    found = rich_report(phases=2)
    again = [line.model_copy(update={"phase": 2}) for line in found.variants if line.phase == 1]

    shown = write_text(found.model_copy(update={"variants": [*found.variants, *again]}))

    headings = [line for line in shown.splitlines() if "of the paper" in line]
    assert headings == [
        "Table 2 of the paper (1 epoch) and ours",
        "Table 3 of the paper (2 epochs) and ours, phase 2",
        "Table 3 of the paper (2 epochs) and ours, phase 3",
    ]


def test_csv_carries_full_precision_and_keeps_formulas_from_running() -> None:
    rows = list(csv.DictReader(io.StringIO(write_csv(report()))))

    assert rows[1]["learning_rate"] == "0.0123;0.1"
    assert rows[1]["regularization"] == "0.00034;1e-06"
    assert rows[1]["test_accuracy_low"] == "0.88"
    assert rows[2]["architecture"] == "'=A|B_50% {x}"
    assert rows[2]["test_accuracy"] == ""


def test_markdown_rows_all_have_the_same_number_of_cells() -> None:
    table = [line for line in write_markdown(report()).split("\n\n")[1].splitlines() if line.startswith("|")]

    assert {line.replace(r"\|", "").count("|") for line in table} == {12}


def test_latex_rows_all_have_the_same_number_of_cells() -> None:
    for table in write_latex(rich_report()).split(r"\end{table}")[:-1]:
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]

        assert len({line.replace(r"\&", "").count("&") for line in rows}) == 1


def test_phases_become_a_column_of_their_own() -> None:
    stages = report().variants[0].stages
    two = report(variants=[variant("CNN 1", "total", stages), variant("CNN 1", "total", stages, phase=1, epochs=3)])

    assert [row["phase"] for row in csv.DictReader(io.StringIO(write_csv(two)))] == ["1", "2"]
    assert "| phase | variant |" in write_markdown(two)
    assert "Phase & Variant" in write_latex(two)
    assert write_text(two).splitlines()[3].split()[:3] == ["phase", "epochs", "variant"]
