import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from service.api.submissions import Reading, read_submission
from service.domain.states import ExperimentState
from tests.service.api.helpers import submission


@pytest.fixture(autouse=True)
def _workers_hold_the_data(registered: str, admin: httpx.Client) -> Iterator[None]:
    assert registered
    yield
    for item in admin.get("/v1/experiments?limit=200").json()["items"]:
        if item["state"] in ("running", "paused"):
            admin.post(f"/v1/experiments/{item['id']}/cancel")


def test_a_dry_run_shows_the_prefix_tree_and_stores_nothing(admin: httpx.Client) -> None:
    before = admin.get("/v1/experiments").json()
    plan = admin.post("/v1/plans", json=submission()).json()
    assert [search["stage"] for search in plan["searches"]] == [
        "Conv-3-4",
        "Conv-3-4 Pool-2",
        "Conv-3-4 Conv-3-4 Pool-2",
    ]
    assert plan["searches"][1]["parent"] == plan["searches"][0]["name"]
    assert plan["trials"] == 9
    assert plan["evaluations"] == 2
    assert admin.get("/v1/experiments").json() == before


def test_yaml_and_json_plan_the_same(admin: httpx.Client) -> None:
    text = """
    name: small
    dataset: {name: dots}
    architectures: {CNN 2: [Conv-3-4, Conv-3-4 Pool-2]}
    variants: [{architecture: CNN 2, learning: partial}, {architecture: CNN 2, learning: total}]
    phases: [{epochs: 1, trials: 3}]
    search: {sampler: sobol}
    """
    headers = {"Content-Type": "application/yaml"}
    assert (
        admin.post("/v1/plans", content=text, headers=headers).json()
        == admin.post("/v1/plans", json=submission()).json()
    )


def test_others_are_answered_while_a_submission_is_read(
    admin: httpx.Client, anonymous: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slowly(body: bytes, content_type: str) -> Reading:
        reading.set()
        assert go_on.wait(60)
        return read_submission(body, content_type)

    monkeypatch.setattr("service.api.experiments.read_submission", slowly)
    with ThreadPoolExecutor() as pool:
        planned = pool.submit(admin.post, "/v1/plans", json=submission())
        try:
            assert reading.wait(20)
            assert anonymous.get("/healthz", timeout=20).status_code == 200
        finally:
            go_on.set()
        assert planned.result().status_code == 200


def test_a_submission_is_kept_as_it_was_sent(admin: httpx.Client) -> None:
    answer = admin.post("/v1/experiments", json=submission())
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["Location"] == f"/v1/experiments/{made['id']}"
    assert made["submission"] == submission()
    assert made["state"] == "running"
    assert admin.get(answer.headers["Location"]).json()["id"] == made["id"]
    assert admin.get(f"/v1/searches/{made['stage_searches'][0]['id']}").json()["trials"] == 3


def test_the_same_key_gives_the_same_experiment_and_no_other(admin: httpx.Client) -> None:
    headers = {"Idempotency-Key": "night-17"}
    first, again = (admin.post("/v1/experiments", json=submission(), headers=headers).json() for _ in range(2))
    assert first["id"] == again["id"]
    other = admin.post("/v1/experiments", json=submission(name="other"), headers=headers)
    assert other.status_code == 409
    assert other.json()["type"] == "/problems/conflict"


def test_a_wish_beside_the_submission_keeps_its_searches_from_being_shared(admin: httpx.Client) -> None:
    admin.post("/v1/experiments", json=submission())
    shared, alone = (admin.post("/v1/plans", params={"reuse": reuse}, json=submission()).json() for reuse in (1, 0))
    assert {search["state"] for search in shared["searches"]} == {"under-way"}
    assert {search["state"] for search in alone["searches"]} == {"new"}
    made = admin.post("/v1/experiments?reuse=false", json=submission()).json()
    assert {search["reused"] for search in made["stage_searches"]} == {False}
    assert made["submission"] == {**submission(), "reuse": False}


def test_control_is_idempotent_until_the_end(admin: httpx.Client) -> None:
    path = f"/v1/experiments/{admin.post('/v1/experiments', json=submission()).json()['id']}"
    for verb, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        for _ in range(2):
            answer = admin.post(f"{path}/{verb}")
            assert answer.status_code == 200
            assert answer.json()["state"] == state
    assert admin.post(f"{path}/resume").status_code == 409


def test_pages_of_the_list_neither_skip_nor_repeat(admin: httpx.Client) -> None:
    made = [admin.post("/v1/experiments", json=submission(name=f"page {n}")).json()["id"] for n in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        page = admin.get("/v1/experiments", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert len(seen) == len(set(seen))
    assert [item for item in seen if item in made] == made[::-1]


@pytest.mark.parametrize("state", ExperimentState)
def test_the_list_can_be_limited_to_a_state(admin: httpx.Client, state: ExperimentState) -> None:
    items = admin.get("/v1/experiments", params={"state": state}).json()["items"]
    assert {item["state"] for item in items} <= {state}


def test_a_report_is_there_before_anything_has_run(admin: httpx.Client) -> None:
    made = admin.post("/v1/experiments", json=submission(reuse=False)).json()
    report = admin.get(f"/v1/experiments/{made['id']}/report").json()
    assert [(line["architecture"], line["learning"]) for line in report["variants"]] == [
        ("CNN 2", "partial"), ("CNN 2", "total"),
    ]  # fmt: skip
    assert report["gaps"] == []


def test_every_preset_can_be_submitted_as_it_is(admin: httpx.Client) -> None:
    presets = admin.get("/v1/presets").json()
    assert {"demo", "table-1"} <= {preset["name"] for preset in presets}
    for preset in presets:
        assert preset == admin.get(f"/v1/presets/{preset['name']}").json()
        headers = {"Content-Type": "application/yaml"}
        answer = admin.post("/v1/plans", content=preset["text"], headers=headers)
        assert answer.status_code == 200, answer.text


def test_the_catalogue_names_data_and_workers(admin: httpx.Client, registered: str) -> None:
    assert {"digits", "cifar10", "dots"} <= {dataset["name"] for dataset in admin.get("/v1/datasets").json()}
    worker = next(worker for worker in admin.get("/v1/workers").json() if worker["id"] == registered)
    assert worker["state"] == "online"
    assert worker["datasets"] == ["dots"]
    assert admin.get("/v1/schemas/submission").json()["title"] == "Submission"
