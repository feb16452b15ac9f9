"""The main job with every part real: submit, search per stage, report."""

import csv
import io
import subprocess
import sys

import numpy as np
import optuna
import pytest

from tests.e2e.conftest import REPOSITORY, SUBMISSION, Stack
from tests.invariants import studies_url, violations

pytestmark = pytest.mark.e2e


def test_an_experiment_runs_from_submission_to_report(stack: Stack, database_url: str) -> None:
    stack.start_worker()
    with stack.client() as client:
        plan = client.plan(SUBMISSION)
        assert len(plan.searches) == 2, "CNN 1 is the first stage of CNN 6"
        experiment = stack.finish(client.submit(SUBMISSION))
        report = client.report(experiment.id)

    assert experiment.state == "finished"
    assert [(line.architecture, line.learning, line.state) for line in report.variants] == [
        ("CNN 1", "total", "complete"),
        ("CNN 6", "partial", "complete"),
    ]
    for line in report.variants:
        assert line.validation_accuracy
        assert line.validation_accuracy.mean > 0.5, "digits are easy"
        assert line.test_accuracy
        assert line.test_accuracy.mean > 0.5
        assert line.training_seconds
        assert line.memory_bytes
        assert line.analytic_memory_bytes
        assert all(stage.hyperparameters for stage in line.stages)
    assert violations(database_url) == []

    # A stranger, who knows Optuna and the database but not us, finds the same.
    for search in experiment.stage_searches:
        study = optuna.load_study(study_name=search.name, storage=studies_url(database_url))
        assert len(study.trials) == 6
        assert study.best_value == search.best_accuracy
        assert search.incumbent is not None
        assert study.best_params == search.incumbent.model_dump(exclude={"more"})


def test_the_same_experiment_again_takes_the_results_over(stack: Stack, database_url: str) -> None:
    stack.start_worker()
    with stack.client() as client:
        first = stack.finish(client.submit(SUBMISSION))
        second = stack.finish(client.submit(SUBMISSION))
        reports = [client.report(experiment.id) for experiment in (first, second)]
    assert first.id != second.id
    assert reports[1].reused_searches == 2
    assert [line.test_accuracy for line in reports[0].variants] == [line.test_accuracy for line in reports[1].variants]
    assert violations(database_url) == []


def test_two_phases_and_two_seeds(stack: Stack, database_url: str) -> None:
    stack.start_worker()
    submission = SUBMISSION | {"phases": [{"epochs": 1, "trials": 4}, {"epochs": 2, "trials": 2}], "seeds": [0, 7]}
    with stack.client() as client:
        experiment = stack.finish(client.submit(submission))
        report = client.report(experiment.id)
        later = [search for search in experiment.stage_searches if search.phase == 1]
        firsts = {search.id: client.trials(search.id)[0] for search in later}
    assert experiment.state == "finished"
    assert len(report.variants) == 4
    assert all(len(line.test_accuracy.values) == 2 for line in report.variants if line.test_accuracy)
    earlier = {search.stage: search.incumbent for search in experiment.stage_searches if search.phase == 0}
    for search in later:
        assert firsts[search.id].origin == "incumbent"
        assert firsts[search.id].hyperparameters in earlier.values(), (
            "the later phase starts from the earlier one's best"
        )
    assert violations(database_url) == []


def test_the_command_submits_watches_and_reports(stack: Stack) -> None:
    stack.start_worker()
    submission = stack.home / "small.yaml"
    submission.write_text(
        "name: small\ndataset: {name: digits, train: 300, validation: 100}\n"
        "architectures: {CNN 1: [Conv-3-4 Pool-2]}\nphases: [{epochs: 1, trials: 2}]\n"
    )

    submitted = _stagetune(stack, "submit", str(submission), "--watch")
    assert submitted.returncode == 0, submitted.stderr
    table = _stagetune(stack, "report", "latest", "--format", "csv")
    assert table.returncode == 0, table.stderr
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert len(rows) == 1
    refused = _stagetune(stack, "submit", "no-such-file.yaml")
    assert refused.returncode != 0
    assert "no-such-file" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_data_set_of_ones_own_is_registered_and_searched(stack: Stack, database_url: str) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 2
    # Class 1 is brighter: anything that trains at all tells them apart.
    images = (generator.integers(0, 128, (400, 6, 6)) + 120 * labels[:, None, None]).astype(np.uint8)
    archive = stack.home / "bright.npz"
    np.savez(archive, x_train=images[:300], y_train=labels[:300], x_test=images[300:], y_test=labels[300:])
    added = _stagetune(stack, "data", "add", "bright", str(archive), "--json")
    assert added.returncode == 0, added.stderr
    stack.start_worker()
    with stack.client() as client:
        stack.until(
            lambda: any("bright" in worker.datasets for worker in client.workers()), "the worker to announce it"
        )
        experiment = stack.finish(
            client.submit(
                {
                    "name": "bright",
                    "dataset": {"name": "bright", "train": 200, "validation": 100},
                    "architectures": {"A": ["Conv-3-4 Pool-2", "Conv-1-4"]},
                    "phases": [{"epochs": 8, "trials": 3}],
                }
            )
        )
        report = client.report(experiment.id)
    assert experiment.state == "finished"
    assert report.test == 100
    for line in report.variants:
        assert line.test_accuracy is not None
        assert line.test_accuracy.mean > 0.9
    assert violations(database_url) == []


def _stagetune(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "client", *arguments]
    environment = {"STAGETUNE_HOME": str(stack.home), "STAGETUNE_SERVER": stack.url, "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=100)
