from client.rendering.lists import LONGEST_STAGE, abridged, named, plan_summary
from tests.client.builders import plan, planned


def test_a_stage_of_many_layers_shows_its_ends() -> None:
    stage = "Conv-5-32 " + "Conv-3-64 " * 500 + "Pool-2"

    short = abridged(stage)

    assert len(short) <= LONGEST_STAGE + 3
    assert short.startswith("Conv-5-32 Conv-3-64 ")
    assert short.endswith(" Conv-3-64 Pool-2")
    assert {*short.split()} == {"Conv-5-32", "Conv-3-64", "…", "Pool-2"}
    assert abridged("Conv-3-32 Pool-2") == "Conv-3-32 Pool-2"


def test_many_variants_are_counted() -> None:
    assert named(["A", "B"]) == "A, B"
    assert named([f"V{number}" for number in range(20)]) == "V0, V1, V2, V3, V4, V5, V6, V7 and 12 more"


def test_a_plan_of_known_searches_only_says_so() -> None:
    known = plan(searches=[planned("Conv-3-64", reused=True)], estimated_seconds=0.0)

    assert plan_summary(known).splitlines()[-1] == "nothing new to train: every stage search exists already"
