"""What can be had of a finished experiment's networks: pictures of their features, and the networks themselves."""

from pathlib import Path

import pytest
import torch

from client.exported import load
from client.exporting import export
from client.variants import choice_of, find_variant
from contract.networks import EmbeddingRequest
from tests.e2e.conftest import SUBMISSION, Stack
from worker.data import open_dataset

pytestmark = pytest.mark.e2e


def test_a_finished_network_is_embedded_and_exported(stack: Stack, tmp_path: Path) -> None:
    stack.start_worker()
    with stack.client() as client:
        experiment = stack.finish(client.submit(SUBMISSION))
        line = find_variant(client.report(experiment.id), "CNN 6 partial", None)
        choice = choice_of(line, 0)
        request = EmbeddingRequest(**choice.model_dump(), points=120, perplexity=15)
        asked = client.embed(experiment.id, request)

        def embedded() -> bool:
            return client.embedding(experiment.id, asked.id).state not in ("waiting", "running")

        stack.until(embedded, "the embedding")
        embedding = client.embedding(experiment.id, asked.id)
        made = export(client, client.network(experiment.id, choice), tmp_path / "out", onnx=False)

    assert embedding.state == "finished", embedding.failure
    assert [len(stage.coordinates) for stage in embedding.stages] == [120, 120]
    assert len(embedding.labels) == len(set(embedding.images)) == 120
    assert sorted(embedding.labels).count(0) in (11, 12, 13), "as many points of each class"
    assert all(stage.dimensions and stage.components and stage.seconds for stage in embedding.stages)

    digits = open_dataset("digits", tmp_path / "home", None)
    pixels = torch.from_numpy(digits.images[digits.info.train :].copy()).permute(0, 3, 1, 2)
    labels = torch.from_numpy(digits.labels[digits.info.train :].copy())
    with torch.no_grad():
        reached = float((load(made.folder)(pixels).argmax(1) == labels).double().mean())
    assert line.test_accuracy is not None
    assert reached == line.test_accuracy.mean
