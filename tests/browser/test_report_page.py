"""What a report tells is on the page: phases, stages, trends, p-values, and t-SNE pictures."""

import hashlib
import re
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from playwright.sync_api import Route, expect
from safetensors.numpy import save

from tests.browser.conftest import Enter
from tests.service.api.helpers import checkpoint, evaluated, fence, submission, trained

pytestmark = pytest.mark.browser

POINTS = 100
CLASSES = ["zero", "<b>one</b>"]


def take(worker: httpx.Client, name: str) -> dict[str, Any] | None:
    ask = {"worker": name, "request_id": str(uuid4()), "wait_seconds": 3}
    answer = worker.post("/v1/worker/leases", json=ask)
    return None if answer.status_code == 204 else answer.json()


def give(worker: httpx.Client, task: dict[str, Any], data: bytes | None, result: dict[str, Any]) -> None:
    if data is not None:
        sha256 = hashlib.sha256(data).hexdigest()
        assert worker.put(f"/v1/worker/artifacts/{sha256}", params=fence(task), content=data).is_success
    path = f"/v1/worker/tasks/{task['task']}/attempts/{task['attempt']}/result"
    assert worker.put(path, json={"result": result}).is_success


def work(worker: httpx.Client, name: str) -> None:
    """Do all there is: the features of second stages on disk, every stage a head of 60 % and neighbours of 50 %."""
    sha256, data = checkpoint()
    done = 0
    while (task := take(worker, name)) is not None:
        stages = len(task["work"]["prefix"]) + 1
        if task["kind"] == "evaluate":
            probes = [{"head_accuracy": 0.6 + n / 100, "knn_accuracy": 0.5 + n / 100} for n in range(stages)]
            give(worker, task, None, evaluated(0.61)["result"] | {"stages": probes})
        elif task["kind"] == "embed":
            numbers = np.arange(POINTS, dtype=np.float32)
            planes = {f"stage-{n + 1}": np.stack([numbers, numbers], 1) for n in range(stages)}
            file = save(planes | {"labels": numbers % 2, "images": numbers})
            result = {
                "outcome": "embedded",
                "checkpoint": hashlib.sha256(file).hexdigest(),
                "points": POINTS,
                "perplexity": 20,
                "total_seconds": 2.5,
                "class_names": CLASSES,
                "stages": [{"dimensions": 64, "components": 50, "seconds": 1.0}] * stages,
            }
            give(worker, task, file, result)
        else:
            kept = {"features": "disk"} if stages > 1 else {}
            give(worker, task, data, trained(sha256, 0.5 + done / 100)["result"] | kept)
        done += 1


@pytest.fixture
def told(admin: httpx.Client, worker: httpx.Client, registered: str) -> dict[str, Any]:
    """An experiment of two phases and two seeds with a memory limit, all done, and a t-SNE of its partial variant."""
    made = admin.post(
        "/v1/experiments",
        json=submission(
            name="told in full",
            reuse=False,
            phases=[{"epochs": 1, "trials": 2}, {"epochs": 2, "trials": 3, "start": "incumbents"}],
            seeds=[0, 7],
            limits={"memory": "40MiB"},
        ),
    ).json()
    path = f"/v1/experiments/{made['id']}"
    while admin.get(path).json()["state"] == "running":
        work(worker, registered)
    wanted = {"architecture": "CNN 2", "learning": "partial", "points": POINTS, "perplexity": 20}
    assert admin.post(f"{path}/embeddings", json=wanted).status_code == 202
    work(worker, registered)
    return dict(made)


def test_a_report_is_on_the_page_in_full(enter: Enter, admin: httpx.Client, told: dict[str, Any]) -> None:
    report = admin.get(f"/v1/experiments/{told['id']}/report").json()
    page = enter(viewport={"width": 1300, "height": 900})
    page.goto(f"/experiments/{told['id']}")

    assert len(report["budgets"]) == 2
    expect(page.locator("#budgets p")).to_have_text(report["budgets"])
    gaps = page.locator("#report .gaps li")
    expect(gaps).to_have_count(len(report["gaps"]))
    assert report["comparisons"] > 1
    for text in gaps.all_inner_texts():
        assert re.search(r"(within noise|better), adjusted p [=<] [\d.e-]+", text), text
    expect(page.locator("#stages .trends li")).to_have_text([trend["sentence"] for trend in report["trends"]])
    expect(page.locator("#report tbody tr").first).to_contain_text("fits ")

    lines = page.locator("#stages tbody tr")
    expect(lines).to_have_count(len(report["variants"]))
    partial = lines.filter(has_text="partial").first
    # Variant, stages, validation, head, nearest neighbours ... with a line for each stage.
    expect(partial.locator("td").nth(2).locator("div")).to_have_text(
        [re.compile(r"^60\.00 %"), re.compile(r"^61\.00 %")]
    )
    expect(partial.locator("td").nth(3).locator("div")).to_have_text(
        [re.compile(r"^50\.00 %"), re.compile(r"^51\.00 %")]
    )
    expect(partial.locator("td").last.locator("div").last).to_contain_text("features: disk 3")
    expect(page.locator("#report .notes")).to_contain_text("3 of 3 trainings from disk")


def test_features_that_were_to_be_recomputed_are_no_remark(enter: Enter, told: dict[str, Any]) -> None:
    def altered(route: Route) -> None:
        answer = route.fetch()
        report = answer.json()
        report["recipe"]["cached_features"] = False
        for stage in (stage for line in report["variants"] for stage in line["stages"]):
            stage["features"] = {"recomputed": 3}
        route.fulfill(response=answer, json=report)

    page = enter()
    page.route("**/report", altered)
    page.goto(f"/experiments/{told['id']}")
    expect(page.locator("#stages tbody tr").first).to_be_visible()
    assert "recomputed" not in page.locator("#stages").inner_text()


@pytest.mark.parametrize("width", [400, 1300])
def test_t_sne_pictures_are_drawn_when_they_are_opened(enter: Enter, told: dict[str, Any], width: int) -> None:
    page = enter(viewport={"width": width, "height": 900})
    page.goto(f"/experiments/{told['id']}")
    section = page.locator("#embeddings")
    expect(section.locator("tbody tr")).to_contain_text("CNN 2 partial")
    expect(section.locator("tbody tr")).to_contain_text("finished")
    expect(section.locator("canvas")).to_have_count(0)
    section.get_by_text("Pictures", exact=True).click()
    expect(section.locator("canvas")).to_have_count(2)
    expect(section.locator(".legend span")).to_have_text(CLASSES)
    inked = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(part => part)"
    assert section.locator("canvas").last.evaluate(inked)
    with page.expect_download() as download:
        section.get_by_role("link", name="Coordinates").click()
    assert download.value.suggested_filename.startswith("tsne-")

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width == 1300:
        for place in ("report", "stages", "embeddings"):
            frame = page.locator(f"#{place} .table")
            assert frame.evaluate("frame => frame.scrollWidth - frame.clientWidth") == 0, place


def test_open_pictures_stay_while_others_are_made_and_are_told_apart(
    enter: Enter, admin: httpx.Client, worker: httpx.Client, registered: str, told: dict[str, Any]
) -> None:
    path = f"/v1/experiments/{told['id']}/embeddings"
    wanted = {"architecture": "CNN 2", "learning": "partial", "points": POINTS}
    fetched: list[str] = []
    page = enter()
    page.on("request", lambda request: fetched.append(request.url) if f"{path}/" in request.url else None)
    # The page looks on as long as one is under way.
    assert admin.post(path, json=wanted | {"perplexity": 20, "phase": 0}).status_code == 202
    page.goto(f"/experiments/{told['id']}")
    section = page.locator("#embeddings")
    section.get_by_text("Pictures", exact=True).click()
    expect(section.locator("canvas")).to_have_count(2)
    assert admin.post(path, json=wanted | {"perplexity": 10}).status_code == 202
    work(worker, registered)

    headings = section.locator(".embedding")
    expect(headings).to_have_count(3)
    expect(section.locator("canvas")).to_have_count(2)
    assert len(fetched) == 1
    rows = [" ".join(text.split()) for text in section.locator("tbody th").all_inner_texts()]
    shown = [" ".join(text.split("Pictures")[0].split()) for text in headings.all_inner_texts()]
    assert len(set(shown)) == 3
    assert [text.split(f" · {POINTS} points")[0] for text in shown] == rows


def test_pictures_that_could_not_be_fetched_are_when_they_are_opened_again(enter: Enter, told: dict[str, Any]) -> None:
    page = enter()
    page.route("**/embeddings/*", lambda route: route.fulfill(body="cut off"), times=1)
    page.goto(f"/experiments/{told['id']}")
    section = page.locator("#embeddings")
    pictures = section.get_by_text("Pictures", exact=True)
    pictures.click()
    expect(section.locator("details div").first).to_contain_text("JSON")
    pictures.click()
    expect(section.locator("canvas")).to_have_count(0)
    pictures.click()
    expect(section.locator("canvas")).to_have_count(2)


def test_published_figures_stand_below_ours_and_nothing_is_read_as_html(enter: Enter, told: dict[str, Any]) -> None:
    paper = {"training_accuracy": 0.5612, "validation_accuracy": 0.54, "seconds": 123.4}

    def altered(route: Route) -> None:
        answer = route.fetch()
        report = answer.json()
        report["variants"][0]["published"] = paper
        report["trends"][0]["sentence"] = report["notes"][0] = "<b>bold</b>"
        route.fulfill(response=answer, json=report)

    page = enter()
    page.route("**/report", altered)
    page.goto(f"/experiments/{told['id']}")
    first = page.locator("#report tbody tr").first
    for column, text in ((3, "paper 56.12 %"), (4, "paper 54.00 %"), (6, "paper 2 min 03 s")):
        expect(first.locator("td").nth(column)).to_contain_text(text)
    for place in ("#stages .trends li", "#report .notes li"):
        expect(page.locator(place).first).to_have_text("<b>bold</b>")
