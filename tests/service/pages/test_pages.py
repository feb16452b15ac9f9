import re
from pathlib import Path

import httpx
import pytest

from service.api.problems import STATUS
from service.pages.routes import FOLDER
from tests.service.api.helpers import submission

NOWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize("path", ["/", "/login"])
def test_a_page_is_html_under_the_strict_policy(page: httpx.Client, path: str) -> None:
    answer = page.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


def test_an_experiments_page_carries_its_name_as_text(page: httpx.Client, registered: str) -> None:
    assert registered
    made = page.post("/v1/experiments", json=submission(name="<script>alert(1)</script>", reuse=False)).json()
    text = page.get(f"/experiments/{made['id']}").text
    page.post(f"/v1/experiments/{made['id']}/cancel")
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2


@pytest.mark.parametrize("name", [NOWHERE, "nonsense", "%00", "a" * 3000, "%ff"])
def test_an_unknown_experiment_is_a_page_too(page: httpx.Client, name: str) -> None:
    answer = page.get(f"/experiments/{name}")
    assert answer.status_code == 404
    assert "There is no such experiment" in answer.text


def test_the_type_of_a_problem_leads_to_its_explanation(anonymous: httpx.Client) -> None:
    refused = anonymous.get("/v1/experiments").json()
    page = anonymous.get(refused["type"])
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert refused["title"] in page.text
    assert "<code>stagetune token create</code>" in page.text
    for kind in STATUS:
        assert anonymous.get(f"/problems/{kind}").status_code == 200, kind
    for name in ("nonsense", "a" * 3000, "%00", "..%2f..", "<script>"):
        answer = anonymous.get(f"/problems/{name}")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


@pytest.mark.parametrize("path", ["/", f"/experiments/{NOWHERE}", "/experiments/a%3Fb%26c", "/experiments/%22%3E"])
def test_the_login_leads_back_to_the_page_that_was_asked_for(anonymous: httpx.Client, path: str) -> None:
    answer = anonymous.get(path)
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/login?next={path}"


@pytest.mark.parametrize("path", ["/assets/", "/assets/nothing.js", "/assets/../routes.py", "/assets/%2e%2e/routes.py"])
def test_only_the_pages_own_files_are_served(anonymous: httpx.Client, path: str) -> None:
    assert anonymous.get(path).status_code == 404


@pytest.mark.parametrize("path", sorted(path.name for path in (FOLDER / "static").iterdir()))
def test_static_files_have_their_type(anonymous: httpx.Client, path: str) -> None:
    answer = anonymous.get(f"/assets/{path}")
    assert answer.status_code == 200
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    assert answer.headers["Content-Type"].startswith(kinds[Path(path).suffix])


@pytest.mark.parametrize("template", sorted((FOLDER / "templates").iterdir()), ids=lambda path: path.name)
def test_templates_need_nothing_that_the_policy_forbids(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:|\|\s*safe", text)
