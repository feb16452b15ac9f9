"""Presets at a small scale with every part real, those that no other test runs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import service
from contract.submission import Point
from tests.e2e.conftest import SUBMISSION, Stack
from tests.invariants import violations

pytestmark = pytest.mark.e2e

DIGITS = {"name": "digits", "train": 200, "validation": 100}


def preset(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((Path(service.__file__).parent / "presets" / f"{name}.yaml").read_text())
    return parsed


def test_paper_reads_its_second_phase_both_ways(stack: Stack, database_url: str) -> None:
    full = preset("paper")
    small = full | {
        "dataset": full["dataset"] | DIGITS,
        "architectures": {name: full["architectures"][name] for name in ("CNN 1", "CNN 6")},
        "variants": [line for line in full["variants"] if line["architecture"] in ("CNN 1", "CNN 6")],
        "phases": [phase | {"trials": 2} for phase in full["phases"]],
    }
    stack.start_worker()
    with stack.client() as client:
        experiment = stack.finish(client.submit(small))
        report = client.report(experiment.id)
        firsts = {search.id: client.trials(search.id)[0] for search in experiment.stage_searches}

    assert experiment.state == "finished"
    assert [(line.label, line.phase, line.epochs) for line in report.variants] == [
        ("CNN 1 total", 0, 1), ("CNN 6 partial", 0, 1),
        ("CNN 1 total", 1, 2), ("CNN 6 partial", 1, 2),
        ("CNN 1 total", 2, 2), ("CNN 6 partial", 2, 2),
    ]  # fmt: skip
    assert all(line.test_accuracy is not None for line in report.variants)
    searches = experiment.stage_searches
    found = {(search.depth, search.stage): search.incumbent for search in searches if search.phase == 0}
    initial = Point(learning_rate=1e-4, regularization=1)
    for search in searches:
        start = found[search.depth, search.stage] if search.phase == 1 else initial
        assert firsts[search.id].hyperparameters == start
    assert violations(database_url) == []


def test_memory_limit_says_infeasible_of_total_and_trains_the_same_network_by_partial(
    stack: Stack, database_url: str
) -> None:
    # Digits are small: Partial of Wide takes 3.7 MiB, Total 5.5 and with checkpoints 4.5.
    small = preset("memory-limit") | {
        "dataset": DIGITS,
        "phases": [{"epochs": 1, "trials": 2}],
        "seeds": [0, 1],
        "limits": {"memory": "4MiB"},
    }
    stack.start_worker()
    with stack.client() as client:
        experiment = stack.finish(client.submit(small))
        report = client.report(experiment.id)

    assert experiment.state == "finished", "what does not fit is a result, no failure"
    assert {line.label: line.state for line in report.variants} == {
        "CNN 1 total": "complete",
        "Wide at 21 total": "complete",
        "Wide at 21 total, equal passes, normalised": "complete",
        "Wide total": "infeasible",
        "Wide total, checkpointed": "infeasible",
        "Wide partial": "complete",
    }
    assert {len(line.test_accuracy.values) for line in report.variants if line.test_accuracy} == {2}
    assert all(line.memory_bytes < 4 * 2**20 for line in report.variants if line.memory_bytes)
    assert sum("limits.memory, 4.0 MiB" in note for note in report.notes) == 2
    assert violations(database_url) == []


def test_thorough_does_all_that_a_search_may_do_beside_its_trials(stack: Stack, database_url: str) -> None:
    full = preset("thorough")
    small = full | {
        "dataset": DIGITS,
        "architectures": SUBMISSION["architectures"],
        "variants": SUBMISSION["variants"],
        "phases": [{"epochs": 1, "trials": 5}],
        "search": full["search"] | {"second_round": 2, "confirm_seeds": 1},
        "seeds": [0, 1],
    }
    stack.start_worker()
    with stack.client() as client:
        plan = client.plan(small)
        experiment = stack.finish(client.submit(small))
        report = client.report(experiment.id)
        trials = [client.trials(search.id) for search in experiment.stage_searches]

    assert (plan.range_tests, plan.confirmations, plan.least_trials, plan.trials) == (2, 2 * 2 * 2, 2 * 5, 2 * 7)
    assert experiment.state == "finished"
    assert [line.label for line in report.variants] == ["CNN 1 total", "CNN 6 partial"]
    for line in report.variants:
        assert line.state == "complete"
        assert line.test_accuracy is not None
        assert len(line.test_accuracy.values) == 2
        assert line.confirmation_seconds > 0
        assert all(stage.confirmed_accuracy for stage in line.stages)
    assert {len(found) for found in trials} <= {5, 7}, "a second round brings two more"
    assert violations(database_url) == []
