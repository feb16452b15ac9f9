from client.rendering.lists import LONGEST_STAGE, abridged, named, plan_summary, plan_tree
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


def test_a_plan_says_what_is_certain_and_what_may_come_on_top() -> None:
    open_ended = plan(trials=68, least_trials=11, range_tests=3, confirmations=18, fits=3, most_seconds=190.0)

    _, work, time = plan_summary(open_ended).splitlines()

    assert work == (
        "up to 68 trials (11 at least), 3 range tests, up to 18 confirmations, 3 fits, 2 evaluations; "
        "up to 1.2 G multiply-adds"
    )
    assert time == "about 1 min 23 s on the workers now connected, up to 3 min 10 s with second rounds"


def test_a_plan_without_surprises_counts_only_what_there_is() -> None:
    _, work, time = plan_summary(plan(least_trials=22, most_seconds=83.0)).splitlines()

    assert work == "22 trials, 0 fits, 2 evaluations; 1.2 G multiply-adds"
    assert time == "about 1 min 23 s on the workers now connected"


def test_a_plan_ends_with_its_notes() -> None:
    assert plan_summary(plan(notes=["limits.memory is small."])).splitlines()[-1] == "note: limits.memory is small."


def test_a_search_shows_how_many_trials_are_certain() -> None:
    tree = plan_tree(plan(searches=[planned("A", trials=50, least_trials=1), planned("B", least_trials=11)]))

    assert list(tree.columns[1].cells) == ["1 to 50", "11"]
