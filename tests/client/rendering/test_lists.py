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


def test_a_plan_of_what_is_all_there_says_so() -> None:
    searches = [planned("Conv-3-64", state="taken-over")]
    known = plan(searches=searches, trials=0, least_trials=0, evaluations=0, multiply_adds=0, estimated_seconds=0.0)

    first, *rest = plan_summary(known).splitlines()

    assert first.endswith("without sharing, 1 taken over")
    assert rest == ["nothing to do: all of it is taken over"]


def test_a_plan_whose_rest_is_dead_on_arrival_does_not_call_it_taken_over() -> None:
    searches = [planned("Conv-3-32", state="taken-over"), planned("Conv-3-64", "Conv-3-32")]
    stuck = plan(searches=searches, trials=0, least_trials=0, evaluations=0, multiply_adds=0, estimated_seconds=0.0)

    _, *rest = plan_summary(stuck).splitlines()

    assert rest == ["nothing to do: the rest stands on what ended without a stage"]


def test_a_plan_tells_what_is_taken_over_from_what_is_under_way() -> None:
    states = ["taken-over", "under-way", "under-way", "new"]
    some = plan(searches=[planned(f"Conv-3-{n}", state=state) for n, state in enumerate(states, 1)], least_trials=0)

    first, work, _ = plan_summary(some).splitlines()
    names = [str(cell) for cell in plan_tree(some).columns[0].cells]

    assert first.endswith("4 stage searches instead of 3 without sharing, 1 taken over, 2 under way")
    assert work == "left to do: up to 22 trials, 0 fits, 2 evaluations; up to 1.2 G multiply-adds"
    assert names == ["Conv-3-1  taken over", "Conv-3-2  under way", "Conv-3-3  under way", "Conv-3-4"]


def test_a_plan_says_what_is_certain_and_what_may_come_on_top() -> None:
    open_ended = plan(trials=68, least_trials=11, range_tests=3, confirmations=18, fits=3, most_seconds=190.0)

    _, work, time = plan_summary(open_ended).splitlines()

    assert work == (
        "left to do: up to 68 trials (11 at least), 3 range tests, up to 18 confirmations, 3 fits, 2 evaluations; "
        "up to 1.2 G multiply-adds"
    )
    assert time == "about 1 min 23 s on the workers now connected, up to 3 min 10 s with second rounds"


def test_a_plan_without_surprises_counts_only_what_there_is() -> None:
    _, work, time = plan_summary(plan(least_trials=22, most_seconds=83.0)).splitlines()

    assert work == "left to do: 22 trials, 0 fits, 2 evaluations; 1.2 G multiply-adds"
    assert time == "about 1 min 23 s on the workers now connected"


def test_a_plan_ends_with_its_notes() -> None:
    assert plan_summary(plan(notes=["limits.memory is small."])).splitlines()[-1] == "note: limits.memory is small."


def test_a_search_shows_how_many_trials_are_certain() -> None:
    tree = plan_tree(plan(searches=[planned("A", trials=50, least_trials=1), planned("B", least_trials=11)]))

    assert list(tree.columns[1].cells) == ["1 to 50", "11"]
