"""A preset that no other test runs: all that a search may do beside its trials, with every part real."""

from pathlib import Path

import yaml

import service
from tests.e2e.conftest import SUBMISSION, Stack
from tests.invariants import violations

THOROUGH = Path(service.__file__).parent / "presets" / "thorough.yaml"


def test_thorough_runs_to_its_end_on_a_small_scale(stack: Stack, database_url: str) -> None:
    preset = yaml.safe_load(THOROUGH.read_text())
    small = preset | {
        "dataset": {"name": "digits", "train": 200, "validation": 100},
        "architectures": SUBMISSION["architectures"],
        "variants": SUBMISSION["variants"],
        "phases": [{"epochs": 1, "trials": 5}],
        "search": preset["search"] | {"second_round": 2, "confirm_seeds": 1},
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
