"""Reports as files, compared with files that were looked at."""

from collections.abc import Callable
from pathlib import Path

import pytest

from client.rendering.files import write_markdown, write_text
from client.rendering.latex import write_latex
from client.rendering.report import remarks
from contract.experiments import Report
from contract.submission import Point
from tests.client.builders import report, variant
from tests.client.rich import CONDITIONS, layered_report, rich_report

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("report.txt", write_text),
        ("report.md", write_markdown),
        ("report.tex", write_latex),
    ],
)
def test_a_report_is_written_as_it_always_was(name: str, write: Callable[[Report], str]) -> None:
    assert write(report()) == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "write"), [("rich.txt", write_text), ("rich.md", write_markdown), ("rich.tex", write_latex)]
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


def test_every_format_says_under_the_heading_how_all_of_it_was_made() -> None:
    found = rich_report()
    heading = "viable on cifar10: 45,000 training, 5,000 validation, 10,000 test images; standardize; 2 seeds; finished"

    assert write_text(found).splitlines()[:3] == [heading, *CONDITIONS]
    assert write_markdown(found).startswith(f"**{heading}**\n\n{CONDITIONS[0]}<br>\n{CONDITIONS[1]}\n\n|")
    assert f"{heading}. {CONDITIONS[0]}. {CONDITIONS[1]}" in write_latex(found)


def test_of_a_server_that_tells_no_conditions_the_sampler_is_known() -> None:
    assert write_text(report()).splitlines()[1] == "search: sampler auto"


def test_training_times_are_means_over_the_seeds_everywhere() -> None:
    found = rich_report(phases=1)

    for shown in (write_text(found), write_markdown(found)):
        assert "28.5 s ± 0.90 s" in shown
    assert r"28.5 s $\pm$ 0.90 s" in write_latex(found)
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


def test_rates_read_as_the_paper_prints_them() -> None:
    found = rich_report(phases=1)
    last = found.variants[-1]
    assert last.published is not None
    theirs = last.published.model_copy(update={"learning_rates": [0.000547, 0.000111, 0.0]})
    points = [Point(learning_rate=rate, regularization=8.292548) for rate in (0.0123456, 1.04e-5, 3.46e-7)]
    stages = [
        stage.model_copy(update={"hyperparameters": point}) for stage, point in zip(last.stages, points, strict=True)
    ]
    one = found.model_copy(update={"variants": [last.model_copy(update={"published": theirs, "stages": stages})]})

    # Table 2 has the last stage of CNN 7 at 0.000000; ours says more where six decimals would say as little.
    paper, ours = (line for line in write_markdown(one).splitlines() if "0.0123" in line or "0.000547" in line)
    assert "| learning rate | paper | 0.000547<br>0.000111<br>0.000000 |" in paper
    assert "|  | ours | 0.012346<br>0.000010<br>3.5e-7 |" in ours
    assert "8.292548" in write_latex(one)


def test_memory_of_every_stage_is_told_where_there_are_several() -> None:
    found = rich_report(phases=1)

    shown = write_text(found)
    table = shown[shown.index("Memory of every stage") :].split("\n\n")[0].splitlines()
    assert table[1].split() == ["variant", "stage", "memory", "analytic", "activations", "resident"]
    assert len(table) == 3 + 5 * 2 + 2 * 3
    for text in (write_markdown(found), write_latex(found)):
        assert "Memory of every stage" in text
    total = found.model_copy(update={"variants": [line for line in found.variants if line.learning == "total"]})
    assert "Memory of every stage" not in write_text(total)


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


def test_markdown_rows_all_have_the_same_number_of_cells() -> None:
    table = [line for line in write_markdown(report()).split("\n\n")[2].splitlines() if line.startswith("|")]

    assert {line.replace(r"\|", "").count("|") for line in table} == {12}


def test_latex_rows_all_have_the_same_number_of_cells() -> None:
    for table in write_latex(rich_report()).split(r"\end{table}")[:-1]:
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]

        assert len({line.replace(r"\&", "").count("&") for line in rows}) == 1


def test_no_name_is_part_of_latexs_end_of_a_row() -> None:
    stages = report().variants[0].stages
    named = report(variants=[variant(name, "total", stages) for name in ("[2cm]", "*", "A [1]")], gaps=[])

    rows = [line.strip().split(" & ")[0] for line in write_latex(named).splitlines() if line.endswith(r"\\")]
    assert rows == ["Variant", "{}[2cm] total", "{}* total", "A [1] total"]


def test_latex_has_the_remarks_as_a_list_after_its_tables() -> None:
    found = rich_report(notes=["[2cm] & 50 % of {x}_1 ~ a^b #1 $ \\end: --no-reuse searches anew", "it ended"])

    *_, after = write_latex(found).split(r"\end{table}")

    begin, *items, end = after.strip().splitlines()
    assert (begin, end) == (r"\begin{itemize}", r"\end{itemize}")
    assert len(items) == len(remarks(found))
    assert items[0] == r"  \item{} phase 1: 1 epoch and 11 trials a stage"
    assert any("paired over 2 seeds (Student t), or from the number of images" in item for item in items)
    assert r"  \item{} from stage to stage the learning rate rises in 7 of 9 steps" in items
    assert items[-2:] == [
        (
            r"  \item{} note: [2cm] \& 50 \% of \{x\}\_1 \textasciitilde{} a\textasciicircum{}b \#1 \$ "
            r"\textbackslash{}end: -{}-no-reuse searches anew"
        ),
        r"  \item{} note: it ended",
    ]


def test_phases_become_a_column_of_their_own() -> None:
    stages = report().variants[0].stages
    two = report(variants=[variant("CNN 1", "total", stages), variant("CNN 1", "total", stages, phase=1, epochs=3)])

    assert "| phase | variant |" in write_markdown(two)
    assert "Phase & Variant" in write_latex(two)
    assert write_text(two).splitlines()[4].split()[:3] == ["phase", "epochs", "variant"]
