from pathlib import Path

import pytest
import yaml

import service
from contract.submission import Submission
from service.domain.experiment import Dataset, ExperimentSpec
from service.domain.plan import plan_experiment
from service.domain.submission import build_spec

PRESETS = sorted((Path(service.__file__).parent / "presets").glob("*.yaml"))
DATASETS = {
    "digits": Dataset("digits", "d" * 64, (1, 8, 8), 10, 1_437, 360),
    "cifar10": Dataset("cifar10", "c" * 64, (3, 32, 32), 10, 50_000, 10_000),
}


def load(path: Path) -> ExperimentSpec:
    submission = Submission.model_validate(yaml.safe_load(path.read_text()))
    assert submission.name == path.stem
    return build_spec(submission.model_dump(), DATASETS[submission.dataset.name])


def test_there_are_presets() -> None:
    assert {"demo", "paper-cnn-1", "table-1"} <= {path.stem for path in PRESETS}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_is_a_valid_submission_with_a_summary(path: Path) -> None:
    assert path.read_text().startswith("# ")
    assert plan_experiment(load(path)).searches


@pytest.mark.parametrize("name", ["demo", "table-1"])
def test_the_eight_networks_are_twelve_searches(name: str) -> None:
    spec = load(next(path for path in PRESETS if path.stem == name))
    assert [variant.label for variant in spec.variants] == [
        "CNN 1 total", *(f"CNN {number} partial" for number in range(2, 9))
    ]  # fmt: skip
    assert len(plan_experiment(spec).searches) == 12
