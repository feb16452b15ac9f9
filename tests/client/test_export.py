"""`stagetune export` of a network trained on the digits, and `client.exported.load`."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from client import exporting
from client.exitcodes import ExitCode
from client.exported import NotAnExport, load
from contract.networks import Network
from tests.client.builders import EXPERIMENT, report
from tests.client.conftest import Cli
from tests.http_server import Answer, FakeServer, problem
from worker.checkpoints import CheckpointStore
from worker.data import Dataset, open_dataset
from worker.stage_training import DataUse, FrozenStage, StageJob, Workbench, evaluate_chain, train_stage
from worker.training.spec import Budget, Conv, Hyperparameters, Pool, Recipe, Stage

PATH = f"/v1/experiments/{EXPERIMENT}"
ARGUMENTS = ("export", str(EXPERIMENT), "--variant", "CNN 6 partial")
STAGES = (
    Stage((Conv(3, 8), Conv(2, 8), Pool(2)), (1, 8, 8), (8, 4, 4)),
    Stage((Conv(3, 8), Pool(2)), (8, 4, 4), (8, 2, 2)),
)


@dataclass(frozen=True)
class Trained:
    """A network of two stages as a worker trained and tested it."""

    description: Network
    checkpoints: dict[str, bytes]
    pixels: torch.Tensor
    labels: torch.Tensor


@pytest.fixture(scope="module", params=["standardize", "mean-image"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("bench")
    digits = open_dataset("digits", folder, None)
    bench = Workbench(torch.device("cpu"), CheckpointStore(folder / "checkpoints"), folder / "features")
    recipe, use = Recipe(batch_size=20), DataUse(1200, 237, request.param)
    chain: tuple[FrozenStage, ...] = ()
    told = []
    for stage in STAGES:
        # Pixels that are not divided are large; the inputs of later stages are standardised.
        rate = 1e-4 if request.param == "mean-image" and not chain else 1e-2
        job = StageJob(stage, chain, use, recipe, Hyperparameters(rate, 5e-4), Budget(1), seed=0)
        result = train_stage(job, digits, bench)
        assert result.checkpoint is not None
        digest = bench.checkpoints.put(result.checkpoint)
        chain = (*chain, FrozenStage(stage, digest))
        told.append(stage_told(stage, digest, rate))
    tested = evaluate_chain(chain, digits, "auto", bench)
    description = described(digits, told, request.param, tested.test_accuracy, tested.precision)
    contents = {frozen.checkpoint: bench.checkpoints.read(frozen.checkpoint) for frozen in chain}
    pixels = torch.from_numpy(digits.images[digits.info.train :].copy()).permute(0, 3, 1, 2)
    return Trained(description, contents, pixels, torch.from_numpy(digits.labels[digits.info.train :].copy()))


def stage_told(stage: Stage, digest: str, rate: float) -> dict[str, Any]:
    layers = [
        {"kind": "conv", "size": layer.size, "filters": layer.filters} if isinstance(layer, Conv)
        else {"kind": "pool", "size": layer.size}
        for layer in stage.layers
    ]  # fmt: skip
    return {
        "notation": "Conv Pool", "checkpoint": digest, "epochs": 1, "validation_accuracy": 0.9,
        "training_accuracy": 0.9, "training_seconds": 1.0, "feature_seconds": 0.1, "memory_bytes": 1000,
        "stage": {"layers": layers, "input_shape": stage.input_shape, "output_shape": stage.output_shape},
        "hyperparameters": {"learning_rate": rate, "regularization": 5e-4},
    }  # fmt: skip


def described(
    digits: Dataset, stages: list[dict[str, Any]], preprocessing: str, accuracy: float, precision: str
) -> Network:
    return Network.model_validate({
        "experiment": EXPERIMENT, "name": "table-1", "variant": "CNN 6 partial", "learning": "partial", "phase": 0,
        "seed": 0, "shape": digits.info.shape, "stages": stages, "test_accuracy": accuracy,
        "test_precision": precision, "test_images": 360,
        "dataset": {
            "name": "digits", "digest": digits.info.digest, "classes": 10, "train": 1200, "validation": 237,
            "preprocessing": preprocessing,
        },
        "recipe": {
            "batch_size": 20, "optimizer": "sgd", "momentum": 0.9, "precision": "auto", "initialization": "he",
            "head": "linear", "standardize_inputs": True,
        },
    })  # fmt: skip


@pytest.fixture
def serving(server: FakeServer, trained: Trained) -> FakeServer:
    server.on(f"GET {PATH}/report", report())
    server.on(f"GET {PATH}/network", trained.description)
    for digest, content in trained.checkpoints.items():
        server.on(f"GET /v1/artifacts/{digest}", Answer(content))
    return server


def test_an_export_computes_what_the_service_tested(
    cli: Cli, serving: FakeServer, trained: Trained, tmp_path: Path
) -> None:
    result = cli(*ARGUMENTS, "--seed", "0", "-o", str(tmp_path / "out"), "--json")

    assert result.exit_code == 0, result.stderr
    assert "architecture=CNN+6" in serving.to(f"GET {PATH}/network")[0].query
    told = json.loads(result.stdout)
    assert told["files"] == ["README.md", "config.json", "model.onnx", "model.safetensors"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == told["files"]
    assert told["onnx"]["max_abs_difference"] < 0.01

    network = load(tmp_path / "out")
    with torch.no_grad():
        logits = network(trained.pixels)
        assert torch.equal(network(trained.pixels.float()), logits)
    assert logits.shape == (360, 10)
    reached = float((logits.argmax(1) == trained.labels).double().mean())
    assert reached == trained.description.test_accuracy
    assert reached > 0.5


def test_the_folder_of_an_export_is_that_of_its_phase_and_seed(
    cli: Cli, serving: FakeServer, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = report()
    later = [line.model_copy(update={"phase": 1}) for line in found.variants]

    serving.on(f"GET {PATH}/report", report(seeds=[0]))
    assert cli(*ARGUMENTS, "--no-onnx").exit_code == 0
    serving.on(f"GET {PATH}/report", found.model_copy(update={"variants": [*found.variants, *later]}))
    for phase, seed in ((0, 0), (1, 0), (1, 2)):
        serving.on(f"GET {PATH}/network", trained.description.model_copy(update={"phase": phase, "seed": seed}))
        assert cli(*ARGUMENTS, "--no-onnx", "--phase", str(phase + 1), "--seed", str(seed)).exit_code == 0

    assert sorted(path.name for path in tmp_path.glob("cnn-*")) == [
        "cnn-6-partial", "cnn-6-partial-phase-1-seed-0", "cnn-6-partial-phase-2-seed-0", "cnn-6-partial-phase-2-seed-2",
    ]  # fmt: skip


@pytest.mark.usefixtures("serving")
def test_the_card_tells_how_good_it_is_and_its_snippet_runs(
    cli: Cli, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = cli(*ARGUMENTS, "-o", str(tmp_path), "--no-onnx")

    assert "largest difference" not in result.stdout
    card = (tmp_path / "README.md").read_text()
    assert f"Test accuracy **{trained.description.test_accuracy:.3f}** on all 360 test images" in card
    assert trained.description.dataset.preprocessing in card
    snippet = card.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"pixels": trained.pixels[:3]}
    exec(snippet, names)  # noqa: S102
    assert names["classes"].shape == (3,)


@pytest.mark.usefixtures("serving")
def test_a_file_that_does_not_agree_is_not_left(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)

    result = cli(*ARGUMENTS, "-o", str(tmp_path / "out"))

    assert result.exit_code == ExitCode.FAILED
    assert result.stderr.startswith("error: model.onnx differs from the network by ")
    assert list((tmp_path / "out").glob("*")) == []


def test_other_bytes_than_the_checkpoints_are_refused(cli: Cli, serving: FakeServer, tmp_path: Path) -> None:
    digest = next(iter(route for route in serving.routes if "artifacts" in route))
    serving.on(digest, Answer(b"something else"))

    result = cli(*ARGUMENTS, "-o", str(tmp_path / "out"))

    assert result.exit_code == ExitCode.FAILED
    assert "other bytes than those of the artifact" in result.stderr
    assert list((tmp_path / "out").glob("*")) == []


def test_what_the_server_refuses_is_told(cli: Cli, serving: FakeServer, tmp_path: Path) -> None:
    serving.on(f"GET {PATH}/network", problem(409, "conflict", "CNN 6 partial is not finished"))

    result = cli(*ARGUMENTS, "-o", str(tmp_path / "out"))

    assert (result.exit_code, result.stderr) == (ExitCode.REFUSED, "error: CNN 6 partial is not finished\n")


@pytest.mark.usefixtures("serving")
def test_a_damaged_export_is_no_network(cli: Cli, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    cli(*ARGUMENTS, "-o", str(whole), "--no-onnx")

    def damaged(name: str, content: bytes) -> Path:
        folder = shutil.copytree(whole, tmp_path / f"{name}-{len(content)}")
        (folder / name).write_bytes(content)
        return folder

    weights = (whole / "model.safetensors").read_bytes()
    config = (whole / "config.json").read_text()
    for folder in (
        damaged("model.safetensors", weights[:-1]),
        damaged("config.json", b"{}"),
        damaged("config.json", config.replace('"filters": 8', '"filters": 9').encode()),
        tmp_path / "absent",
    ):
        with pytest.raises(NotAnExport):
            load(folder)


@pytest.mark.usefixtures("serving")
def test_an_export_in_the_place_of_another_leaves_nothing_of_it(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    cli(*ARGUMENTS, "-o", str(out))
    assert (out / "model.onnx").exists()

    told = json.loads(cli(*ARGUMENTS, "-o", str(out), "--no-onnx", "--json").stdout)

    assert told["files"] == ["README.md", "config.json", "model.safetensors"]
    assert sorted(path.name for path in out.iterdir()) == [*told["files"], "notes.txt"]
    load(out)


@pytest.mark.usefixtures("serving")
def test_half_of_an_export_is_no_network(cli: Cli, tmp_path: Path) -> None:
    """Weights come after the card: what cannot take their place ends the export in its middle."""
    cli(*ARGUMENTS, "-o", str(tmp_path), "--no-onnx")
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").mkdir()

    result = cli(*ARGUMENTS, "-o", str(tmp_path), "--no-onnx")

    assert result.exit_code == ExitCode.USAGE
    assert not (tmp_path / "config.json").exists()
    with pytest.raises(NotAnExport):
        load(tmp_path)


@pytest.mark.usefixtures("serving")
def test_pixels_of_another_shape_are_refused(cli: Cli, tmp_path: Path) -> None:
    cli(*ARGUMENTS, "-o", str(tmp_path), "--no-onnx")

    with pytest.raises(ValueError, match=r"pixels of shape \(n, 1, 8, 8\)"):
        load(tmp_path)(torch.zeros(2, 3, 8, 8))
