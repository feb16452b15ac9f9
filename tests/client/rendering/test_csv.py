"""Reports as CSV: every table as a data frame wants it."""

import csv
import io
from pathlib import Path

import pytest

from client.rendering.csv import Table, write_csv
from contract.experiments import Report
from tests.client.builders import report
from tests.client.rich import layered_report, rich_report

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def rows(found: Report, table: Table = Table.VARIANTS) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(write_csv(found, table))))


@pytest.mark.parametrize(
    ("name", "found", "table"),
    [
        ("report.csv", report(), Table.VARIANTS),
        ("rich.csv", rich_report(), Table.VARIANTS),
        ("report-stages.csv", report(), Table.STAGES),
        ("rich-stages.csv", rich_report(phases=1), Table.STAGES),
        ("report-differences.csv", report(), Table.DIFFERENCES),
        ("rich-differences.csv", rich_report(phases=1), Table.DIFFERENCES),
    ],
)
def test_a_table_is_written_as_it_always_was(name: str, found: Report, table: Table) -> None:
    assert write_csv(found, table) == (GOLDEN / name).read_text(encoding="utf-8")


def test_a_table_of_nothing_has_its_heading() -> None:
    for table in Table:
        assert write_csv(report(variants=[], gaps=[]), table).count("\n") == 1


def test_figures_keep_full_precision_and_formulas_do_not_run() -> None:
    found = rows(report())

    assert found[1]["learning_rate"] == "0.0123;0.1"
    assert found[1]["regularization"] == "0.00034;1e-06"
    assert found[1]["test_accuracy_low"] == "0.88"
    assert found[2]["architecture"] == "'=A|B_50% {x}"
    assert found[2]["test_accuracy"] == ""
    assert rows(report(), Table.STAGES)[3]["label"] == "'=A|B_50% {x} partial"


def test_every_stage_has_a_line_with_its_memory_and_what_the_paper_chose() -> None:
    found = [row for row in rows(rich_report(), Table.STAGES) if row["label"] == "CNN 8 partial"]

    assert [(row["phase"], row["stage"]) for row in found] == [(p, s) for p in "12" for s in "123"]
    third = found[2]
    assert third["layers"] == "Conv-3-32 Conv-3-32 Pool-2"
    assert float(third["learning_rate"]) == pytest.approx(0.009)
    assert third["published_learning_rate"] == "6.9e-05"
    memory = ("memory_bytes", "analytic_memory_bytes", "activation_bytes", "resident_bytes")
    assert [third[name] for name in memory] == ["3000000", "2900000", "2000000", "500000"]
    assert (third["second_round"], third["reused"], third["shared_with"]) == ("true", "false", "")


def test_differences_say_what_they_rest_on_and_what_both_sides_took() -> None:
    found = rows(rich_report(phases=1), Table.DIFFERENCES)

    assert {row["comparison"] for row in found} == {"gap", "lead"}
    gap = next(row for row in found if (row["first"], row["second"]) == ("CNN 8 total", "CNN 8 partial"))
    assert [float(gap[f"validation_{name}"]) for name in ("points", "low", "high")] == pytest.approx([-5.4, -7.0, -3.8])
    assert (gap["validation_method"], gap["seeds"], gap["adjusted_p_value"]) == ("paired", "2", "0.04")
    assert (gap["verdict"], gap["budget"]) == ("partial better", "epochs")
    assert [gap[name] for name in ("first_trials", "second_trials", "first_passes", "second_passes")] == [
        "11", "22", "1", "2"
    ]  # fmt: skip
    assert [gap[f"training_time_ratio{end}"] for end in ("", "_low", "_high")] == ["0.983", "0.951", "1.016"]
    assert gap["memory_ratio"] == "2.125"
    by_label = {row["label"]: row["memory_bytes"] for row in rows(rich_report(phases=1))}
    assert gap["first_memory_bytes"] == by_label["CNN 8 total"]
    assert gap["second_memory_bytes"] == by_label["CNN 8 partial"]
    lead = next(row for row in found if row["first"] == "CNN 8 partial")
    assert (lead["comparison"], lead["second"], lead["budget"]) == ("lead", "CNN 1 total", "")


def test_what_an_older_server_does_not_know_is_empty() -> None:
    (gap,) = rows(report(), Table.DIFFERENCES)

    assert (gap["validation_points"], gap["test_points"]) == ("-1.25", "0.5")
    assert (gap["validation_low"], gap["verdict"], gap["memory_ratio"], gap["first_trials"]) == ("", "", "", "")


def test_every_layer_s_hyperparameters_are_told() -> None:
    (row,) = rows(layered_report())
    first, second = rows(layered_report(), Table.STAGES)

    assert row["learning_rate"] == "0.056;0.012"
    assert row["more_hyperparameters"] == f"{first['more_hyperparameters']};{second['more_hyperparameters']}"
    assert first["more_hyperparameters"].split()[0] == "learning_rate_10=0.01"
    assert second["more_hyperparameters"] == "learning_rate_factor=0.5 regularization_factor=2.0"


def test_times_are_means_over_the_seeds() -> None:
    first = rows(rich_report(phases=1))[0]

    assert [first[f"training_seconds{end}"] for end in ("", "_low", "_high")] == ["28.5", "27.6", "29.4"]


def test_phases_count_from_one() -> None:
    assert [row["phase"] for row in rows(rich_report(phases=2))] == ["1"] * 15 + ["2"] * 15
