"""`stagetune tsne`: what it asks for, what it writes, and how it waits."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from client.exitcodes import ExitCode
from contract.networks import Embedding, EmbeddingStage
from tests.client.builders import EXPERIMENT, NOON, identifier, report, worker
from tests.client.conftest import Cli
from tests.http_server import Answer, FakeServer, problem

PATH = f"/v1/experiments/{EXPERIMENT}"
ID = identifier("embedding")


def embedding(state: str = "finished", points: int = 40, stages: int = 2, **changes: Any) -> Embedding:
    """Points on a spiral, coordinates only when finished."""
    done = state == "finished"
    coordinates = [(float(n % 7), float(n)) for n in range(points)] if done else []
    facts: dict[str, Any] = {"dimensions": 512, "components": 50, "seconds": 1.5} if done else {}
    shown = [EmbeddingStage(stage=f"Conv-3-{n}", coordinates=coordinates, **facts) for n in range(stages)]
    told: dict[str, Any] = {
        "id": ID, "variants": ["CNN 6 partial"], "phase": 0, "seed": 0, "points": points, "perplexity": 10.0,
        "state": state, "created_at": NOON, "stages": shown, "seconds": 3.0 if done else None,
        "labels": [n % 10 for n in range(points)] if done else [], "images": list(range(points)) if done else [],
    }  # fmt: skip
    return Embedding(**(told | changes))


@pytest.fixture(autouse=True)
def asked(server: FakeServer) -> FakeServer:
    server.on(f"GET {PATH}/report", report(seeds=[0]))
    server.on(f"POST {PATH}/embeddings", Answer(embedding("waiting"), 202))
    server.on(f"GET {PATH}/embeddings", [embedding()])
    server.on(f"GET {PATH}/embeddings/{ID}", embedding())
    server.on("GET /v1/workers", [worker()])
    return server


def test_a_variant_becomes_two_pictures_and_a_table(cli: Cli, asked: FakeServer, tmp_path: Path) -> None:
    result = cli(
        "tsne", str(EXPERIMENT), "--variant", "cnn 6 partial", "--points", "40", "--perplexity", "10", "-o",
        str(tmp_path / "pictures"),
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    (request,) = asked.to(f"POST {PATH}/embeddings")
    wanted = json.loads(request.body)
    assert (wanted["architecture"], wanted["learning"], wanted["points"]) == ("CNN 6", "partial", 40)
    files = {path.suffix: path for path in (tmp_path / "pictures").iterdir()}
    assert {path.stem for path in files.values()} == {"tsne-cnn-6-partial"}
    assert files[".png"].read_bytes().startswith(b"\x89PNG")
    drawn = files[".svg"].read_text()
    assert "<svg" in drawn
    assert "CNN 6 partial: t-SNE of 40 test images" in drawn
    rows = list(csv.DictReader(files[".csv"].read_text().splitlines()))
    assert len(rows) == 2 * 40
    assert rows[41] == {
        "stage": "2",
        "layers": "Conv-3-1",
        "image": "1",
        "class": "1",
        "x": "1.0",
        "y": "1.0",
        "class_name": "",
    }


def test_files_of_several_phases_and_seeds_do_not_replace_each_other(
    cli: Cli, asked: FakeServer, tmp_path: Path
) -> None:
    found = report()
    later = [line.model_copy(update={"phase": 1}) for line in found.variants]
    asked.on(f"GET {PATH}/report", found.model_copy(update={"variants": [*found.variants, *later]}))

    for phase, seed in ((1, 0), (2, 0), (2, 1)):
        asked.on(f"GET {PATH}/embeddings/{ID}", embedding(phase=phase - 1, seed=seed))
        wanted = ["--phase", str(phase), *(["--seed", str(seed)] if seed else [])]
        assert cli("tsne", str(EXPERIMENT), "--variant", "CNN 6 partial", *wanted, "-o", str(tmp_path)).exit_code == 0

    assert sorted(path.stem for path in tmp_path.glob("*.csv")) == [
        "tsne-cnn-6-partial-phase-1-seed-0", "tsne-cnn-6-partial-phase-2-seed-0", "tsne-cnn-6-partial-phase-2-seed-1",
    ]  # fmt: skip


def test_of_one_phase_and_seed_neither_is_in_the_name(cli: Cli, tmp_path: Path) -> None:
    assert cli("tsne", str(EXPERIMENT), "--all", "--seed", "0", "-o", str(tmp_path)).exit_code == 0

    assert (tmp_path / "tsne-cnn-6-partial.png").exists()


def test_the_legend_names_the_classes_that_have_names(cli: Cli, asked: FakeServer, tmp_path: Path) -> None:
    names = ["airplane", "_auto <b>$x$", "=bird", *map(str, range(3, 9)), "a name that nobody would read in full"]
    asked.on(f"GET {PATH}/embeddings/{ID}", embedding(class_names=names))

    result = cli("tsne", str(EXPERIMENT), "--variant", "CNN 6 partial", "-o", str(tmp_path))

    assert result.exit_code == 0, result.stderr
    drawn = (tmp_path / "tsne-cnn-6-partial.svg").read_text()
    for legend in (">0 airplane<", ">1 _auto &lt;b&gt;$x$<", ">2 =bird<", ">9 a name that nobody woul…<"):
        assert legend in drawn
    rows = list(csv.DictReader((tmp_path / "tsne-cnn-6-partial.csv").read_text().splitlines()))
    assert (rows[0]["class"], rows[0]["class_name"], rows[2]["class_name"]) == ("0", "airplane", "'=bird")


def test_classes_without_names_are_numbers(cli: Cli, tmp_path: Path) -> None:
    assert cli("tsne", str(EXPERIMENT), "--variant", "CNN 6 partial", "-o", str(tmp_path)).exit_code == 0

    assert ">9<" in (tmp_path / "tsne-cnn-6-partial.svg").read_text()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("classes", "named"), [(100, True), (101, False)])
def test_a_legend_has_room_for_a_hundred_classes(
    cli: Cli, asked: FakeServer, tmp_path: Path, classes: int, named: bool
) -> None:
    labels = [number % classes for number in range(2 * classes)]
    names = [f"sweet pepper number {label}" for label in range(classes)]
    asked.on(f"GET {PATH}/embeddings/{ID}", embedding(points=len(labels), labels=labels, class_names=names))

    # A figure that is too small for its legend is a warning of the library.
    assert cli("tsne", str(EXPERIMENT), "--variant", "CNN 6 partial", "-o", str(tmp_path)).exit_code == 0

    drawn = (tmp_path / "tsne-cnn-6-partial.svg").read_text()
    assert (">99 sweet pepper number 99<" in drawn) is named


def test_waiting_is_told_and_ends_with_the_embedding(cli: Cli, asked: FakeServer, tmp_path: Path) -> None:
    asked.on(
        f"GET {PATH}/embeddings",
        Answer([embedding("waiting")]), Answer([embedding("running")]), Answer([embedding()]),
    )  # fmt: skip

    result = cli("tsne", str(EXPERIMENT), "--variant", "CNN 6 partial", "-o", str(tmp_path))

    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "0 of 1 embedding done; waiting for a worker that is free",
        "0 of 1 embedding done; computing CNN 6 partial",
    ]
    assert result.stdout.splitlines()[0] == "CNN 6 partial: 40 points, 2 stages, 3.00 s"


def test_without_waiting_nothing_is_written(cli: Cli, asked: FakeServer, tmp_path: Path) -> None:
    result = cli("tsne", str(EXPERIMENT), "--all", "--no-wait", "-o", str(tmp_path))

    assert result.exit_code == 0
    # The dead variant is left out.
    assert len(asked.to(f"POST {PATH}/embeddings")) == 2
    assert result.stdout.splitlines() == ["CNN 1 total: waiting", "CNN 6 partial: waiting"]
    assert list(tmp_path.iterdir()) == []


def test_a_failed_embedding_says_why(cli: Cli, asked: FakeServer, tmp_path: Path) -> None:
    asked.on(f"GET {PATH}/embeddings", [embedding("failed", failure="out-of-memory: 3 GiB")])

    result = cli("tsne", str(EXPERIMENT), "--variant", "CNN 6 partial", "-o", str(tmp_path))

    assert result.exit_code == ExitCode.FAILED
    assert result.stdout == "CNN 6 partial: failed: out-of-memory: 3 GiB\n"


def test_json_names_the_files(cli: Cli, tmp_path: Path) -> None:
    result = cli("tsne", str(EXPERIMENT), "--variant", "CNN 6 partial", "--json", "-o", str(tmp_path))

    (told,) = json.loads(result.stdout)
    assert told["state"] == "finished"
    assert [Path(file).suffix for file in told["files"]] == [".svg", ".png", ".csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a variant with --variant; there are CNN 1 total; CNN 6 partial; =A|B_50% {x} partial"),
        (["--variant", "CNN 9"], "there is no variant 'CNN 9'; there are CNN 1 total; CNN 6 partial; "),
        (["--all", "--variant", "CNN 1 total"], "--variant and --all exclude each other"),
        (["--all", "--phase", "2"], "there is no phase 2; the last is 1"),
    ],
)
def test_a_variant_that_is_not_meant_is_a_usage_error(
    cli: Cli, asked: FakeServer, arguments: list[str], message: str
) -> None:
    result = cli("tsne", str(EXPERIMENT), *arguments)

    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.startswith(f"error: {message}")
    assert asked.to(f"POST {PATH}/embeddings") == []


def test_what_the_server_refuses_is_told(cli: Cli, asked: FakeServer) -> None:
    asked.on(f"POST {PATH}/embeddings", problem(409, "conflict", "CNN 6 partial is not finished"))

    result = cli("tsne", str(EXPERIMENT), "--variant", "CNN 6 partial")

    assert (result.exit_code, result.stderr) == (ExitCode.REFUSED, "error: CNN 6 partial is not finished\n")
