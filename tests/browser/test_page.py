"""The page as people use it, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from client.opening import open_link
from tests.browser.conftest import Enter, link, train
from tests.invariants import settled_violations
from tests.service.api.conftest import Running
from tests.service.api.helpers import submission

pytestmark = pytest.mark.browser


@pytest.fixture
def running(admin: httpx.Client, registered: str) -> Iterator[dict[str, Any]]:
    """An experiment that nobody works on."""
    assert registered
    made = admin.post("/v1/experiments", json=submission(name="by hand", reuse=False)).json()
    yield made
    admin.post(f"/v1/experiments/{made['id']}/cancel")


@pytest.fixture
def finished(admin: httpx.Client, worker: httpx.Client, registered: str) -> dict[str, Any]:
    """An experiment whose every task was done."""
    made = admin.post("/v1/experiments", json=submission(name="all done")).json()
    while admin.get(f"/v1/experiments/{made['id']}").json()["state"] == "running":
        train(worker, registered)
    ended: dict[str, Any] = admin.get(f"/v1/experiments/{made['id']}").json()
    return ended


def rows(page: Page, place: str) -> list[str]:
    return [" ".join(text.split()) for text in page.locator(f"#{place} tbody tr").all_inner_texts()]


def test_the_link_logs_in_once_and_leaves_no_code_behind(enter: Enter, admin: httpx.Client, server: Running) -> None:
    once = link(admin)
    page = enter(login=False)
    page.goto(once)
    page.wait_for_url(f"{server.url}/")
    expect(page.get_by_role("heading", name="Experiments")).to_be_visible()

    second = enter(login=False)
    second.goto(once)
    expect(second.get_by_role("alert")).to_contain_text("code")
    assert second.url == f"{server.url}/login"


def test_the_file_for_a_browser_logs_in(
    enter: Enter, admin: httpx.Client, server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    monkeypatch.setattr("webbrowser.open", given.append)
    open_link(server.url + link(admin), tmp_path)
    page = enter(login=False)
    page.goto(given[0])
    page.wait_for_url(f"{server.url}/")
    expect(page.get_by_role("heading", name="Experiments")).to_be_visible()


def test_a_typed_code_leads_to_the_page_that_was_asked_for(
    enter: Enter, admin: httpx.Client, server: Running, running: dict[str, Any]
) -> None:
    page = enter(login=False)
    page.goto(f"/experiments/{running['id']}")
    expect(page).to_have_url(re.compile(r"/login\?next=/experiments/"))
    page.get_by_label("One-time code").fill(link(admin).partition("=")[2])
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{server.url}/experiments/{running['id']}")
    expect(page.get_by_role("heading", name="by hand")).to_be_visible()


def test_nobody_is_led_to_another_server(enter: Enter, admin: httpx.Client, server: Running) -> None:
    for elsewhere in (
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
    ):
        page = enter(login=False)
        page.goto(f"/login?next={elsewhere}{link(admin).removeprefix('/login')}")
        page.wait_for_url(f"{server.url}/")


def test_the_list_leads_to_an_experiment_with_its_table(enter: Enter, finished: dict[str, Any]) -> None:
    page = enter()
    page.get_by_role("link", name="all done").first.click()
    expect(page.locator("#report tbody tr")).to_have_count(2)
    table = rows(page, "report")
    assert table[0].startswith("CNN 2 partial")
    assert table[1].startswith("CNN 2 total")
    assert "%" in table[0]
    expect(page.locator("#report .gaps li")).to_have_text(
        re.compile("CNN 2 total minus CNN 2 partial.*trials 3 : 6 · passes 1 : 2 · ")
    )
    expect(page.locator("#conditions p")).to_have_text([
        re.compile("^training: batches of 50, SGD with momentum 0.9, cosine schedule, .*, no limits$"),
        re.compile("^search: sampler sobol, "),
    ])  # fmt: skip
    searches = rows(page, "searches")
    assert len(searches) == len(finished["stage_searches"]) == 3
    assert all("decided 3 / 3" in line for line in searches)
    expect(page.locator("#actions button")).to_have_count(0)
    expect(page).to_have_title("all done · stagetune")


def test_an_experiment_is_paused_resumed_and_cancelled(
    enter: Enter, admin: httpx.Client, running: dict[str, Any]
) -> None:
    def state() -> str:
        return str(admin.get(f"/v1/experiments/{running['id']}").json()["state"])

    page = enter()
    page.goto(f"/experiments/{running['id']}")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("h1 .badge")).to_have_text("paused")
    assert state() == "paused"
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("h1 .badge")).to_have_text("running")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Cancel").click()
    assert state() == "running"
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1 .badge")).to_have_text("cancelled")
    assert state() == "cancelled"


def test_the_page_follows_what_happens(
    enter: Enter, worker: httpx.Client, registered: str, running: dict[str, Any]
) -> None:
    page = enter()
    page.goto(f"/experiments/{running['id']}")
    tile = page.locator(".tile", has_text="Trials")
    expect(tile).to_contain_text("0 / 9")
    assert train(worker, registered, most=2) == 2
    expect(tile).to_contain_text("2 / 9")


def test_what_an_experiment_waits_for_is_said(
    enter: Enter, worker: httpx.Client, registered: str, running: dict[str, Any]
) -> None:
    page = enter()
    page.goto(f"/experiments/{running['id']}")
    expect(page.locator("#searches tbody tr")).to_have_count(3)
    expect(page.locator("#waiting")).to_be_empty()
    worker.delete(f"/v1/worker/workers/{registered}")
    expect(page.locator("#waiting")).to_contain_text("no worker is connected")


def test_a_search_leads_to_its_study_in_the_dashboard(
    enter: Enter, finished: dict[str, Any], module_database: str
) -> None:
    # Until a study is drawn, its search leads to the list of all.
    assert settled_violations(module_database) == []
    page = enter()
    page.goto(f"/experiments/{finished['id']}")
    name = finished["stage_searches"][0]["name"]
    page.locator("#searches a").first.click()
    expect(page).to_have_url(re.compile(r"/dashboard/studies/\d+"))
    expect(page.get_by_text(name).first).to_be_visible()
    page.goto("/dashboard")
    expect(page.get_by_text(name).first).to_be_visible()


def test_logging_out_ends_the_session(enter: Enter) -> None:
    page = enter()
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile("/login$"))
    page.goto("/")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_a_name_is_never_read_as_html(enter: Enter, admin: httpx.Client, registered: str) -> None:
    assert registered
    name = "<img src=/nothing onerror=alert(1)><b>bold</b>"
    made = admin.post("/v1/experiments", json=submission(name=name, reuse=False)).json()
    page = enter()
    expect(page.get_by_role("link", name=name)).to_be_visible()
    page.goto(f"/experiments/{made['id']}")
    expect(page.locator("h1")).to_contain_text(name)
    expect(page.locator("h1 b")).to_have_count(0)
    admin.post(f"/v1/experiments/{made['id']}/cancel")


@pytest.mark.parametrize(
    ("scheme", "shown"),
    [("per-layer", r"^\S+e-\d, head \S+e-\d$"), ("geometric", r"^\S+e-\d × [\d.]+\^k$")],
)
def test_every_layers_hyperparameters_are_shown(
    enter: Enter, admin: httpx.Client, worker: httpx.Client, registered: str, scheme: str, shown: str
) -> None:
    made = admin.post(
        "/v1/experiments",
        json=submission(name=scheme, search={"sampler": "sobol", "scheme": scheme}, reuse=False),
    ).json()
    while admin.get(f"/v1/experiments/{made['id']}").json()["state"] == "running":
        train(worker, registered)
    page = enter()
    page.goto(f"/experiments/{made['id']}")
    first = page.locator("#report tbody tr").first
    for column in (1, 2):
        expect(first.locator("td").nth(column).locator("div").first).to_have_text(re.compile(shown))
    for column in (3, 4):
        cell = page.locator("#searches tbody tr").first.locator("td").nth(column)
        expect(cell).to_have_text(re.compile(shown))


@pytest.fixture
def seeded(admin: httpx.Client, worker: httpx.Client, registered: str) -> dict[str, Any]:
    """Three seeds of long networks: the widest lines there are."""
    block = "Conv-3-32 Conv-3-32 Pool-2"
    made = admin.post(
        "/v1/experiments",
        json=submission(
            name="three seeds",
            architectures={"CNN 8": [block, block, block]},
            variants=[
                {"architecture": "CNN 8", "learning": "partial"},
                {"architecture": "CNN 8", "learning": "total"},
                {"architecture": "CNN 8", "learning": "total", "budget": "passes", "checkpointing": True},
            ],
            phases=[{"epochs": 1, "trials": 1}],
            seeds=[0, 1, 2],
        ),
    ).json()
    while admin.get(f"/v1/experiments/{made['id']}").json()["state"] == "running":
        train(worker, registered)
    ended: dict[str, Any] = admin.get(f"/v1/experiments/{made['id']}").json()
    return ended


@pytest.mark.parametrize("width", [400, 1300])
def test_the_table_of_several_seeds_fits_or_scrolls_in_its_frame(
    enter: Enter, seeded: dict[str, Any], width: int
) -> None:
    page = enter(viewport={"width": width, "height": 900})
    page.goto(f"/experiments/{seeded['id']}")
    expect(page.locator("#report tbody tr")).to_have_count(3)
    heads = page.locator("#report thead th").all_inner_texts()
    assert heads[-2:] == ["Memory", "Resident"]
    line = page.locator("#report tbody tr").first
    expect(line.locator("td").last).to_have_text("100 B")
    assert line.inner_text().count("±") == 4
    frame = page.locator("#report .table")
    hidden = frame.evaluate("frame => frame.scrollWidth - frame.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width == 1300:
        assert hidden == 0
        searches = page.locator("#searches .table")
        assert searches.evaluate("frame => frame.scrollWidth - frame.clientWidth") == 0
    else:
        frame.evaluate("frame => frame.scrollTo(frame.scrollWidth, 0)")
        expect(line.locator("td").last).to_be_in_viewport()


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_and_follow_the_colour_scheme(
    enter: Enter, finished: dict[str, Any], width: int, scheme: str
) -> None:
    page = enter(viewport={"width": width, "height": 900}, color_scheme=scheme)
    for path, ready in (("/", "#list tbody tr"), (f"/experiments/{finished['id']}", "#searches tbody tr")):
        page.goto(path)
        expect(page.locator(ready).first).to_be_visible()
        # Wide tables scroll in their own frame, never the whole page.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        light = sum(int(part) for part in re.findall(r"\d+", ground)[:3]) > 3 * 128
        assert light == (scheme == "light")
