"""The report as one HTML file: everything in it, nothing outside of it."""

import re
from html.parser import HTMLParser

import pytest

from client.rendering.html import write_html
from contract.submission import Point
from tests.client.builders import report, stage, variant
from tests.client.rich import layered_report, rich_report

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def page() -> str:
    return write_html(rich_report(phases=2))


class Outline(HTMLParser):
    """Open elements, ids and what they point at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.targets: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag != "meta":
            self.stack.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            self.targets |= set(re.findall(r"(?:^|url\()#([^)]+)", value or ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def test_the_page_needs_nothing_from_anywhere(page: str) -> None:
    assert "://" not in page
    assert not re.search(r"\b(src|srcset|action)=|@import|<script|\bon[a-z]+=", page)
    assert "default-src 'none'" in page
    assert len(page) < 2 * MEGABYTE


def test_the_page_is_whole_and_its_ids_are_unique(page: str) -> None:
    outline = Outline(page)

    assert outline.stack == []
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.targets <= set(outline.ids)
    assert outline.seen.count("svg") == 2 * 6
    assert outline.seen.count("figcaption") == 2 * 6


def test_the_page_says_everything_in_words_too(page: str) -> None:
    for text in (
        "CNN 8 partial", "0.669 ± 0.011", "Table 2 of the paper (1 epoch) and ours", "partial better",
        "below its prefix, beyond the noise, second round", "rises in 7 of 9 steps", "11 : 22", "0.98 [0.95, 1.02]",
        "Memory of every stage", "He&#x27;s initialisation, mlp heads, at most 2,048.0 MiB a training</p>",
        '<p class="facts">search: sampler auto, learning rate',
        "p1-costs", "p2-probes",
    ):  # fmt: skip
        assert text in page
    # Figures keep their text as text, for search and for readers of screens.
    assert re.search(r"<text[^>]*>validation accuracy</text>", page)
    assert "mathdefault" not in page


def test_times_have_bars_and_every_layer_its_hyperparameters(page: str) -> None:
    assert "28.5 s ± 0.90 s" in page
    assert "training (seed 0)" in page

    shown = write_html(layered_report())

    assert "head 5.6e-2 / 2.0e-4" in shown
    assert "1.2e-2 × 0.5^k / 3.0e-4 × 2^k" in shown
    assert "Under the scheme per-layer they are those of the head" in shown
    assert "Under the scheme" not in page


def test_stages_say_with_whom_they_are_shared_and_how_they_were_confirmed() -> None:
    point = Point(learning_rate=0.1, regularization=0.1)
    shared = stage("Conv-3-8", point, shared_with="<early>", confirmed_accuracy=0.89)

    shown = write_html(report(variants=[variant("A", "total", [shared])], gaps=[], shared_searches=1))

    assert "shared with &lt;early&gt;" in shown
    assert "0.900 (0.890 confirmed)" in shown
    assert "1 shared with experiments that were under way" in shown


def test_stages_of_another_seed_than_the_first_say_so() -> None:
    first = report().variants[0]
    lines = [first.model_copy(update={"seed": seed, "label": f"A {seed} total"}) for seed in (0, 2)]

    shown = write_html(report(variants=lines, gaps=[]))

    assert shown.count("of seed ") == shown.count('<td class="text wide">of seed 2</td>') == 1


def test_names_are_never_read_as_html_or_formulas() -> None:
    name = "<b>$A_1$ & 'x'"
    lines = [variant(name, "total", report().variants[0].stages, label=f"{name} total")]

    shown = write_html(report(name=name, variants=lines))

    assert "<b>" not in shown
    assert "&lt;b&gt;$A_1$ &amp;" in shown


def test_a_report_without_results_is_a_page_as_well() -> None:
    shown = write_html(report(variants=[], gaps=[], state="running"))

    assert Outline(shown).stack == []
    assert "<svg" not in shown


def test_the_same_report_gives_the_same_bytes() -> None:
    assert write_html(rich_report(phases=1)) == write_html(rich_report(phases=1))
