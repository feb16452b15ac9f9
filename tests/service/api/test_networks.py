"""Trained networks over HTTP: what an export needs to know, and t-SNE embeddings."""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from tests.service.api.helpers import checkpoint, evaluated, fence, submission, trained

PARTIAL = {"architecture": "CNN 2", "learning": "partial"}


class Bench:
    """An experiment on two seeds, and a worker that makes its figures up."""

    def __init__(self, admin: httpx.Client, worker: httpx.Client, name: str) -> None:
        self.admin, self.worker, self.name = admin, worker, name
        self.id = admin.post("/v1/experiments?reuse=false", json=submission(seeds=[0, 7])).json()["id"]
        self.path = f"/v1/experiments/{self.id}"

    def take(self) -> dict[str, Any] | None:
        ask = {"worker": self.name, "request_id": str(uuid4()), "wait_seconds": 3}
        answer = self.worker.post("/v1/worker/leases", json=ask)
        return None if answer.status_code == 204 else answer.json()

    def give(self, task: dict[str, Any], result: dict[str, Any]) -> None:
        path = f"/v1/worker/tasks/{task['task']}/attempts/{task['attempt']}/result"
        assert self.worker.put(path, json=result).is_success

    def train(self) -> dict[str, Any]:
        """Everything up to the first evaluation, which stays open."""
        number = 0
        while (task := self.take()) is not None:
            if task["kind"] == "evaluate":
                return task
            sha256, data = checkpoint(number)
            assert self.worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(task), content=data).is_success
            self.give(task, trained(sha256, 0.5 + number / 100))
            number += 1
        raise AssertionError("no evaluation came")


@pytest.fixture
def bench(admin: httpx.Client, worker: httpx.Client, registered: str) -> Iterator[Bench]:
    made = Bench(admin, worker, registered)
    yield made
    admin.post(f"{made.path}/cancel")


def faults(answer: httpx.Response) -> list[str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return [fault["path"] for fault in answer.json()["faults"]]


def test_an_undecided_network_can_be_neither_described_nor_embedded(bench: Bench) -> None:
    answers = (
        bench.admin.get(f"{bench.path}/network", params=PARTIAL),
        bench.admin.post(f"{bench.path}/embeddings", json=PARTIAL),
    )
    for answer in answers:
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")
        assert "CNN 2 partial is not finished" in answer.json()["detail"]
    assert bench.admin.get(f"{bench.path}/embeddings").json() == []


def test_what_cannot_be_is_refused_with_the_place_of_the_fault(bench: Bench) -> None:
    def ask(**changes: Any) -> httpx.Response:
        return bench.admin.post(f"{bench.path}/embeddings", json=PARTIAL | changes)

    assert faults(ask(architecture="CNN 3")) == ["architecture"]
    assert faults(ask(learning="total", budget="passes")) == ["learning"]
    assert faults(ask(seed=3, phase=1)) == ["phase", "seed"]
    assert faults(ask(points=0)) == ["points"]
    assert faults(ask(perplexity=-1)) == ["perplexity"]
    bench.train()
    assert faults(ask(points=361)) == ["points"]
    assert "360 test images" in ask(points=361).json()["detail"]
    assert faults(ask(points=60)) == ["perplexity"]
    assert "it may be 19.7 at most for 60 points" in ask(points=60).json()["detail"]


def test_a_network_is_described_on_each_seed(bench: Bench) -> None:
    evaluation = bench.train()
    bench.give(evaluation, evaluated(0.625))

    first = bench.admin.get(f"{bench.path}/network", params=PARTIAL).json()
    other = bench.admin.get(f"{bench.path}/network", params=PARTIAL | {"seed": 7}).json()

    assert (first["variant"], first["seed"], other["seed"]) == ("CNN 2 partial", 0, 7)
    assert [stage["notation"] for stage in first["stages"]] == ["Conv-3-4", "Conv-3-4 Pool-2"]
    assert first["stages"][1]["stage"]["input_shape"] == [4, 8, 8]
    assert first["dataset"]["name"] == "dots"
    assert first["recipe"]["head"] == "linear"
    assert {stage["checkpoint"] for stage in first["stages"]}.isdisjoint(
        stage["checkpoint"] for stage in other["stages"]
    )
    assert [stage["hyperparameters"] for stage in first["stages"]] == [
        stage["hyperparameters"] for stage in other["stages"]
    ]
    for stage in first["stages"]:
        assert bench.admin.get(f"/v1/artifacts/{stage['checkpoint']}").is_success


def test_an_embedding_is_made_once_and_shows_its_coordinates(bench: Bench) -> None:
    bench.train()
    wanted = PARTIAL | {"points": 100, "perplexity": 20}

    asked, again = (bench.admin.post(f"{bench.path}/embeddings", json=wanted) for _ in range(2))
    other = bench.admin.post(f"{bench.path}/embeddings", json=wanted | {"perplexity": 21}).json()

    assert (asked.status_code, asked.json()["state"]) == (202, "waiting")
    assert asked.json()["id"] == again.json()["id"] != other["id"]
    assert asked.json()["variants"] == ["CNN 2 partial"]
    where = asked.headers["Location"]
    task = take_embedding(bench)
    assert task["work"]["embedding"] == {"points": 100, "perplexity": 20}
    assert len(task["work"]["prefix"]) == 1
    assert bench.admin.get(where).json()["state"] == "running"
    bench.give(task, embedded(bench, task))

    found = bench.admin.get(where).json()
    assert (found["state"], found["seconds"]) == ("finished", 2.5)
    assert [(stage["stage"], stage["dimensions"], stage["components"]) for stage in found["stages"]] == [
        ("Conv-3-4", 256, 50), ("Conv-3-4 Pool-2", 64, 50),
    ]  # fmt: skip
    assert found["stages"][1]["coordinates"][2] == [2.0, -2.0]
    assert (found["labels"][:3], found["images"][:3]) == ([0, 1, 2], [0, 3, 6])
    assert found["class_names"] == ["zero", "one"]
    assert other["class_names"] == []
    listed = bench.admin.get(f"{bench.path}/embeddings").json()
    assert [item["state"] for item in listed] == ["finished", "waiting"]
    assert listed[0]["stages"][0]["coordinates"] == []


def test_a_file_that_is_no_embedding_is_told_as_such(bench: Bench) -> None:
    """Whoever may work may not make lists of a trillion rows out of ninety bytes, nor numbers that are none."""
    bench.train()
    bad = [
        ("stage-1", b'"dtype":"F32","shape":[1099511627776,0]', b""),
        ("stage-1", b'"dtype":"BOOL","shape":[100,2]', bytes(200)),
        ("stage-2", b'"dtype":"F32","shape":[2,100]', bytes(800)),
        ("stage-2", b'"dtype":"F32","shape":[100,2]', np.full(200, np.nan, np.float32).tobytes()),
        ("labels", b'"dtype":"F32","shape":[100]', np.full(100, np.inf, np.float32).tobytes()),
        ("labels", b'"dtype":"F32","shape":[100]', np.full(100, 1e30, np.float32).tobytes()),
        ("stage-1", b'"dtype":"F32","shape":[100,2]', np.full(200, 3e38, np.float32).tobytes()),
        ("images", b'"dtype":"F32","shape":[1099511627776,0]', b""),
    ]
    for number, (name, told, content) in enumerate(bad):
        wanted = PARTIAL | {"points": 100, "perplexity": 20 + number}
        where = bench.admin.post(f"{bench.path}/embeddings", json=wanted).headers["Location"]
        task = take_embedding(bench)
        bench.give(task, embedded(bench, task, {name: (told, content)}, perplexity=20 + number))
        answer = bench.admin.get(where)
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-artifact"), name


def test_a_trained_variant_is_embedded_before_its_experiment_has_ended_but_not_once_it_is_cancelled(
    bench: Bench,
) -> None:
    bench.train()
    assert bench.admin.get(bench.path).json()["state"] == "running"
    assert bench.admin.post(f"{bench.path}/embeddings", json=PARTIAL | {"points": 100}).status_code == 202
    assert bench.admin.post(f"{bench.path}/cancel").is_success

    answer = bench.admin.post(f"{bench.path}/embeddings", json=PARTIAL | {"points": 200})

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")
    assert "submit it again" in answer.json()["detail"]
    assert [item["state"] for item in bench.admin.get(f"{bench.path}/embeddings").json()] == ["cancelled"]


def test_an_embedding_belongs_to_its_experiment(bench: Bench) -> None:
    assert bench.admin.get(f"{bench.path}/embeddings/{uuid4()}").status_code == 404
    assert bench.admin.get(f"/v1/experiments/{uuid4()}/embeddings").status_code == 404


def take_embedding(bench: Bench) -> dict[str, Any]:
    """The next task of its kind; evaluations that are in front are done."""
    while (task := bench.take()) is not None:
        if task["kind"] == "embed":
            return task
        bench.give(task, evaluated())
    raise AssertionError("no embedding came")


def embedded(
    bench: Bench, task: dict[str, Any], instead: Mapping[str, tuple[bytes, bytes]] = {}, perplexity: int = 20
) -> dict[str, Any]:
    """The result of an embedding of a hundred points, uploaded; it holds others ``instead`` of some tensors."""
    numbers = np.arange(100, dtype=np.float32)
    tensors = {
        "stage-1": np.stack([numbers, numbers], 1), "stage-2": np.stack([numbers, -numbers], 1),
        "labels": numbers % 10, "images": numbers * 3,
    }  # fmt: skip
    parts = {
        name: instead.get(name, (b'"dtype":"F32","shape":%s' % str([*tensor.shape]).encode(), tensor.tobytes()))
        for name, tensor in tensors.items()
    }
    data = safetensors_of(parts)
    sha256 = hashlib.sha256(data).hexdigest()
    assert bench.worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(task), content=data).is_success
    return {
        "result": {
            "outcome": "embedded", "checkpoint": sha256, "points": 100, "perplexity": perplexity, "total_seconds": 2.5,
            "class_names": ["zero", "one"],
            "stages": [{"dimensions": size, "components": 50, "seconds": 1.0} for size in (256, 64)],
        }
    }  # fmt: skip


def safetensors_of(parts: Mapping[str, tuple[bytes, bytes]]) -> bytes:
    """A file of tensors that are told to be of a type and shape, as text of JSON, with these bytes."""
    told, content = [], b""
    for name, (form, data) in parts.items():
        told.append(b'"%s":{%s,"data_offsets":[%d,%d]}' % (name.encode(), form, len(content), len(content) + len(data)))
        content += data
    header = b"{" + b",".join(told) + b"}"
    return struct.pack("<Q", len(header)) + header + content
