from dataclasses import replace
from typing import Any

import pytest

from service.domain.experiment import ExperimentSpec
from service.domain.plan import plan_experiment
from service.domain.states import SearchState, TrialOrigin
from tests.service.domain.reports import Facts, Understand, ended, facts, tell, training, tried, with_seeds


@pytest.fixture
def spec(understand: Understand) -> ExperimentSpec:
    """Three searches: A total, and A's two stages; B is A's first stage alone."""
    return understand(architectures={"A": ["Conv-3-8", "Pool-2"], "B": ["Conv-3-8"]})


@pytest.fixture
def searches(spec: ExperimentSpec) -> Facts:
    return facts(plan_experiment(spec), [0.60, 0.50, 0.55])


def test_notes_warn_of_noise_dead_searches_and_lost_accuracy(spec: ExperimentSpec, searches: Facts) -> None:
    total, _, second = searches
    trials = [tried(0.1, diverged=True)] * 9 + [tried(None)] * 2
    searches[total] = ended(searches[total], SearchState.DEAD, *trials)
    searches[second] = replace(searches[second], incumbent=training(0.127))
    notes = "\n".join(tell(spec, searches).notes)
    assert "One seed only: with 1,000 validation images, differences under 4.4 points are noise" in notes
    assert "has no incumbent: of 11 trials 9 diverged, 2 failed and 0 were pruned" in notes
    assert (
        "A partial: stage 2 reaches 0.127, less than the 0.500 of the stage it stands on, beyond the noise. More "
        "trials may help."
    ) in notes
    assert "cpu" not in notes


def test_a_dead_search_says_what_most_failures_said_and_advises_by_the_cause(
    spec: ExperimentSpec, searches: Facts
) -> None:
    total = next(iter(searches))
    failed = [tried(None, failure="crashed: the disk is full")] * 2 + [tried(None, failure="lost")]
    searches[total] = ended(searches[total], SearchState.DEAD, *failed)
    (note,) = [note for note in tell(spec, searches).notes if "no incumbent: of 3" in note]
    assert note.endswith("Most failures say: crashed: the disk is full")
    assert "narrower" not in note


def test_several_seeds_are_not_called_one(spec: ExperimentSpec, searches: Facts) -> None:
    spec = replace(spec, seeds=(0, 1))
    searches = {key: with_seeds(search, {0: 0.5, 1: 0.6}, {0: 0.5, 1: 0.5}) for key, search in searches.items()}
    assert not any("One seed only" in note for note in tell(spec, searches).notes)


def test_a_search_on_the_first_of_several_seeds_is_said_to_bound_what_intervals_mean(understand: Understand) -> None:
    def told(**wishes: Any) -> tuple[str, ...]:
        spec = understand(architectures={"A": ["Conv-3-8"]}, **wishes)
        return tell(spec, facts(plan_experiment(spec), [0.5])).notes

    optimistic = "Validation accuracies chose the hyperparameters and are optimistic; test accuracies are not."
    notes = told()
    assert optimistic in notes
    assert not any("first seed" in note for note in notes)
    notes = told(seeds=[3, 4])
    assert any(
        note.startswith("The search ran on the first seed, 3, only: intervals and p-values hold for") for note in notes
    )
    assert (
        "The validation accuracy of seed 3 is the highest of its trials and optimistic, more so than those of the "
        "other seeds; nothing was selected on test accuracies."
    ) in notes
    assert optimistic not in notes
    notes = told(seeds=[3, 4], search={"confirm_seeds": 1})
    assert any("is one of the 2 highest of its trials" in note for note in notes)


def test_a_search_on_each_seed_is_not_said_to_have_run_on_the_first(understand: Understand) -> None:
    spec = understand(architectures={"A": ["Conv-3-8"]}, seeds=[0, 5], search={"seeds": "each"})
    notes = tell(spec, facts(plan_experiment(spec), [0.5, 0.6])).notes
    assert not any("first seed" in note for note in notes)
    assert any(note.startswith("Validation accuracies chose") for note in notes)


def test_a_confirmed_stage_is_judged_by_its_mean(spec: ExperimentSpec, searches: Facts) -> None:
    _, first, second = searches
    searches[first] = replace(searches[first], incumbent=training(0.60), confirmations=(0.50, 0.52))
    searches[second] = replace(searches[second], incumbent=training(0.53), confirmations=(0.53, 0.53))
    report = tell(spec, searches)
    before, stage = next(line for line in report.variants if line.label == "A partial").stages
    assert before.confirmed_accuracy == pytest.approx(0.54)
    assert stage.confirmed_accuracy == pytest.approx(0.53)
    assert (stage.stagnating, stage.stagnating_beyond_noise) == (True, False)
    assert any("of the stage it stands on, within the noise." in note for note in report.notes)
    searches[second] = replace(searches[second], confirmations=(0.40, 0.40))
    notes = "\n".join(tell(spec, searches).notes)
    assert (
        "A partial: stage 2 reaches 0.443 (mean with the seeds that confirmed it), less than the 0.540 (mean with the "
        "seeds that confirmed it) of the stage it stands on, beyond the noise. More trials may help."
    ) in notes
    assert report.variants[0].stages[0].confirmed_accuracy is None


def test_notes_tell_what_the_search_cost_and_what_reuse_saved(spec: ExperimentSpec, searches: Facts) -> None:
    first, second, _ = searches
    searches[first] = replace(
        searches[first], reused=True, fit_seconds=40.0, reused_fits=2, reused_fit_seconds=30.0, second_round=True
    )
    searches[second] = replace(searches[second], chosen=tried(0.5, origin=TrialOrigin.ENQUEUED))
    notes = "\n".join(tell(spec, searches).notes)
    assert "Searching took 300 s of workers' time, all attempts counted; fitting the choice with the other" in notes
    assert "1 of 3 searches come from earlier experiments, and 2 fits: 130 s were not spent again." in notes
    assert "A hand-picked point won 1 of 3 decided searches" in notes
    assert (
        f"{searches[first].name} fell short of its prefix or diverged, and got a second round in a wider space."
        in notes
    )


def test_what_is_shared_with_an_experiment_under_way_is_named_and_saves_nothing(
    spec: ExperimentSpec, searches: Facts
) -> None:
    searches = {key: replace(search, shared_with="early") for key, search in searches.items()}
    report = tell(spec, searches)
    assert (report.reused_searches, report.shared_searches, report.saved_seconds) == (0, 3, 0.0)
    assert {stage.shared_with for line in report.variants for stage in line.stages} == {"early"}
    notes = "\n".join(report.notes)
    assert "Shared with early, under way there already: 3 of 3 searches; their seconds count in both" in notes
    assert "come from earlier" not in notes


def test_notes_say_why_a_search_is_infeasible_and_what_never_ran(understand: Understand) -> None:
    spec = understand(architectures={"A": ["Conv-3-8", "Pool-2"]}, limits={"memory": "8MiB"})
    total, first, second = searches = facts(plan_experiment(spec), [0.6, 0.5, 0.55])
    told = tried(None, failure="memory-limit: training takes 9.5 MiB,\nallowed are 8.0 MiB")
    searches[first] = ended(searches[first], SearchState.INFEASIBLE, told)
    searches[second] = ended(searches[second], SearchState.DEAD)
    report = tell(spec, searches)
    assert report.memory_limit == 8 * 2**20
    notes = "\n".join(report.notes)
    assert (
        f"{searches[first].name} is infeasible: no hyperparameters make it fit into limits.memory, 8.0 MiB "
        "(memory-limit: training takes 9.5 MiB, allowed are 8.0 MiB)."
    ) in notes
    assert f"{searches[second].name} never ran: a stage before it has no incumbent." in notes
    assert searches[total].name not in notes


def test_notes_measure_the_rule_seconds_and_count_comparisons(understand: Understand) -> None:
    spec = understand(
        architectures={"A": ["Conv-3-8", "Pool-2"]},
        variants=[
            {"architecture": "A", "learning": "total"},
            {"architecture": "A", "learning": "partial"},
            {"architecture": "A", "learning": "total", "budget": "seconds"},
        ],
    )
    plan = plan_experiment(spec)
    timed = plan.variants[2].path[0]
    searches = facts(plan, [0.5] * 4)
    searches[timed] = replace(searches[timed], allowed_seconds=200.0, confirmation_seconds=30.0)
    notes = tell(spec, searches).notes
    assert (
        "A total, equal seconds: 200 s of search were allowed, as many as the search of A partial took; "
        "10 trials took 100 s."
    ) in notes
    # Two gaps and a lead; partial against the baseline is one of the gaps.
    assert (
        "3 comparisons were made, and their p-values are adjusted for that (Holm). "
        "Beyond the noise: 0 of 3 differences told."
    ) in notes


def test_a_stage_that_variants_share_stagnates_once(understand: Understand) -> None:
    shared = ["Conv-3-8", "Conv-3-4"]
    spec = understand(architectures={"A": shared, "B": [*shared, "Pool-2"], "C": [*shared, "Conv-1-4"]})
    plan = plan_experiment(spec)
    reached = {0: 0.5, 1: 0.4, 2: 0.45}
    searches = facts(plan, [reached[search.depth] for search in plan.searches])
    alone = next(variant.path[-1] for variant in plan.variants if variant.variant.label == "C partial")
    searches[alone] = replace(searches[alone], incumbent=training(0.3))

    notes = [note for note in tell(spec, searches).notes if "of the stage it stands on" in note]

    falls = "reaches {}, less than the {} of the stage it stands on, beyond the noise. More trials may help."
    assert notes == [
        f"A partial, B partial and C partial: stage 2 {falls.format('0.400', '0.500')}",
        f"C partial: stage 3 {falls.format('0.300', '0.400')}",
    ]
