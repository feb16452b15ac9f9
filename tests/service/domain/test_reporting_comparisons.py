from dataclasses import replace
from math import exp, log

import pytest

from service.domain.experiment import ExperimentSpec
from service.domain.findings import Evaluation, SearchFacts
from service.domain.plan import plan_experiment
from service.domain.report import Effort
from service.domain.states import SearchState
from tests.service.domain.reports import Facts, Understand, ended, facts, tell, training, tried, with_seeds

A = {"architectures": {"A": ["Conv-3-8", "Pool-2"]}}
SEEDS = (0, 1, 2)
DATASET_TEST = 10_000


@pytest.fixture
def spec(understand: Understand) -> ExperimentSpec:
    """Three searches: A total, and A's two stages."""
    return replace(understand(**A), seeds=SEEDS)


@pytest.fixture
def apart(understand: Understand) -> ExperimentSpec:
    """Three searches: S total, the baseline, and the two stages of A, another network."""
    variants = [{"architecture": "S", "learning": "total"}, {"architecture": "A", "learning": "partial"}]
    return replace(understand(architectures={"S": ["Conv-5-8"], **A["architectures"]}, variants=variants), seeds=SEEDS)


def seeded(spec: ExperimentSpec, *test: dict[int, float]) -> Facts:
    """Searches with these test accuracies by seed; validation is 0.5 on every seed."""
    plan = plan_experiment(spec)
    found = facts(plan, [0.5] * len(plan.searches))
    return {
        key: with_seeds(search, dict.fromkeys(SEEDS, 0.5), accuracies)
        for (key, search), accuracies in zip(found.items(), test, strict=True)
    }


def test_the_gap_is_total_minus_partial_of_one_network_in_points(understand: Understand) -> None:
    spec = understand(**A)
    (gap,) = tell(spec, facts(plan_experiment(spec), [0.60, 0.50, 0.55])).gaps
    assert (gap.total, gap.partial, gap.budget) == ("A total", "A partial", "epochs")
    assert gap.validation_points == pytest.approx(5.0)
    assert gap.test_points == pytest.approx(5.0)
    assert gap.standard_error_points == pytest.approx(100 * ((0.6 * 0.4 + 0.55 * 0.45) / 1_000) ** 0.5)
    # One seed: 10,000 test images have a standard error of 0.702 points, so that 5 points are beyond the noise.
    assert gap.test is not None
    assert gap.test.standard_error == pytest.approx(100 * ((0.58 * 0.42 + 0.53 * 0.47) / 10_000) ** 0.5)
    assert gap.verdict == "total better"
    assert gap.sentence == (
        "A total (10 trials, 1 pass) is 5.0 points above A partial (20 trials, 2 passes) on 10,000 test images at "
        "equal epochs per stage (interval of at least 95 %: +3.6 to +6.4; one seed, error from the number of images; "
        "p < 0.001): total better. Its training takes 0.50 times the seconds (one seed)."
    )


def test_a_network_under_another_name_has_a_gap_too(understand: Understand) -> None:
    spec = understand()
    report = tell(spec, facts(plan_experiment(spec), [0.54, 0.4, 0.51, *[0.5] * 9]))
    assert [(gap.total, gap.partial) for gap in report.gaps] == [("CNN 1 total", "CNN 2 partial")]
    assert report.gaps[0].validation_points == pytest.approx(3.0)
    assert (report.searches, report.stage_trainings_without_sharing) == (12, 17)
    # Every partial variant against CNN 1; that of CNN 2 asks the same as the gap, is told there and counts once.
    assert report.baseline == "CNN 1 total"
    assert [lead.variant for lead in report.leads] == [f"CNN {number} partial" for number in range(3, 9)]
    assert report.comparisons == len(report.gaps) + len(report.leads) == 7
    assert any(" of 7 differences told." in note for note in report.notes)


def test_seeds_are_paired_and_one_without_its_partner_is_left_out(spec: ExperimentSpec) -> None:
    searches = seeded(spec, {0: 0.60, 1: 0.62, 2: 0.64}, {}, {2: 0.67, 0: 0.61})
    (gap,) = tell(spec, searches).gaps
    assert gap.test is not None
    assert gap.test.values == pytest.approx((-1.0, -3.0))
    assert (gap.test.seeds, gap.test.method) == (2, "paired")
    assert gap.test_points == pytest.approx(-2.0)
    # t = 2 with one degree of freedom: p = 1 - 2/pi x atan(2) = 0.295.
    assert gap.adjusted_p_value == pytest.approx(0.29517, abs=1e-5)
    assert gap.verdict == "within noise"
    assert gap.sentence == (
        "A total (10 trials, 1 pass) is 2.0 points below A partial (20 trials, 2 passes) on 10,000 test images at "
        "equal epochs per stage (interval of at least 95 %: -14.7 to +10.7; 2 seeds, paired by seed; p = 0.295): "
        "within noise. Its training takes 0.50 times the seconds (95 % interval 0.50 to 0.50; 3 seeds) and 1.00 times "
        "the memory."
    )


def test_a_clear_lead_of_partial_is_told(spec: ExperimentSpec, apart: ExperimentSpec) -> None:
    accuracies: tuple[dict[int, float], ...] = ({0: 0.50, 1: 0.51, 2: 0.52}, {}, {0: 0.550, 1: 0.561, 2: 0.572})
    of_one_network = tell(spec, seeded(spec, *accuracies))
    assert [gap.verdict for gap in of_one_network.gaps] == ["partial better"]
    assert of_one_network.leads == ()
    of_two = tell(apart, seeded(apart, *accuracies))
    assert of_two.gaps == ()
    (lead,) = of_two.leads
    assert (lead.variant, lead.against, lead.verdict) == ("A partial", "S total", "better")
    assert lead.test is not None
    assert lead.test.points == pytest.approx(5.1)


def marked(search: SearchFacts, right: dict[int, str]) -> SearchFacts:
    """The search with tests that say which of some images were right, as many to a letter; first to last."""
    count = DATASET_TEST // 10
    tests = {
        seed: Evaluation(
            sum(mark == "+" for mark in marks) / 10,
            right=sum((1 << count) - 1 << place * count for place, mark in enumerate(marks) if mark == "+"),
        )
        for seed, marks in right.items()
    }
    return replace(search, evaluations=tests)


def test_tests_that_say_which_images_were_right_are_paired_by_image_as_well(spec: ExperimentSpec) -> None:
    searches = seeded(spec, {}, {}, {})
    total, _, partial = searches
    same = {0: "+++++++---", 1: "++++++----", 2: "+++++++---"}
    searches[total] = marked(searches[total], same)
    searches[partial] = marked(searches[partial], same)
    (level,) = tell(spec, searches).gaps
    assert level.test is not None
    assert (level.test.method, level.test.values, level.test.p_value) == ("crossed", (0.0, 0.0, 0.0), 1.0)
    # Nothing but the two images that are added speaks for a difference.
    assert level.test.high < 0.1
    assert "3 seeds, paired by seed and image; p = 1.000): within noise." in level.sentence

    # An older worker tested one of them.
    untold = {**searches[partial].evaluations, 1: Evaluation(0.6)}
    searches[partial] = replace(searches[partial], evaluations=untold)
    (level,) = tell(spec, searches).gaps
    assert level.test is not None
    assert (level.test.method, level.test.seeds) == ("images", 3)
    assert "(interval of at least 95 %: -1.3 to +1.3; 3 seeds, error from the number of images; p" in level.sentence


def test_a_seed_that_diverged_has_no_images_to_pair(spec: ExperimentSpec) -> None:
    searches = seeded(spec, {}, {}, {})
    total, _, partial = searches
    for key in (total, partial):
        searches[key] = marked(searches[key], {0: "+++++-----", 1: "+++++-----", 2: "+++++-----"})
    found = searches[partial]
    kept = {seed: found.evaluations[seed] for seed in (0, 1)}
    fits = {1: found.fits[1]}
    searches[partial] = replace(found, evaluations=kept, fits=fits, diverged_fits=frozenset({2}))
    (gap,) = tell(spec, searches).gaps
    assert gap.test is not None
    assert (gap.test.seeds, gap.test.method) == (3, "paired")
    assert gap.test.values == pytest.approx((0.0, 0.0, 40.0))


def test_before_the_test_the_validation_images_decide(spec: ExperimentSpec) -> None:
    (gap,) = tell(spec, seeded(spec, {}, {}, {})).gaps
    assert (gap.test, gap.test_points, gap.validation_points) == (None, None, 0.0)
    assert (gap.validation.seeds, gap.adjusted_p_value, gap.verdict) == (3, 1.0, "within noise")
    assert gap.sentence.startswith("A total (10 trials, 1 pass) is level with A partial (20 trials, 2 passes) on 1,000")
    assert "3 seeds, error from the number of images; p = 1.000" in gap.sentence


def test_holm_makes_a_difference_noise_that_alone_would_not_be(understand: Understand) -> None:
    alone = understand(**A)
    error = 100 * (0.5 / 10_000) ** 0.5
    points = 2.2 * error
    (gap,) = tell(alone, facts(plan_experiment(alone), [0.52, 0.5, 0.52 + points / 100])).gaps
    assert gap.adjusted_p_value == pytest.approx(0.0278, abs=5e-4)
    assert gap.verdict == "partial better"
    more = understand(architectures={**A["architectures"], "B": ["Conv-3-8 Pool-2"], "C": ["Conv-5-8"]})
    plan = plan_experiment(more)
    found = tell(more, facts(plan, [0.52, 0.5, 0.52 + points / 100, 0.52]))
    # B is A's network; C stands 0.0 points from the baseline. Two comparisons, the smaller p-value twice.
    assert found.comparisons == 2
    assert found.gaps[0].adjusted_p_value == pytest.approx(2 * gap.adjusted_p_value)
    assert found.gaps[0].verdict == "within noise"
    assert "p = 0.056 by Holm for 2 comparisons): within noise." in found.gaps[0].sentence


def test_time_and_memory_are_compared_as_well(spec: ExperimentSpec, apart: ExperimentSpec) -> None:
    def timed(spec: ExperimentSpec) -> Facts:
        searches = seeded(spec, {}, {}, {})
        total, first, _ = searches
        faster = {1: training(0.5, seconds=22.0), 2: training(0.5, seconds=46.0)}
        searches[total] = replace(searches[total], incumbent=training(0.5, memory=250, seconds=10.0), fits=faster)
        searches[first] = replace(searches[first], incumbent=replace(training(0.5), memory_method="method 250"))
        return searches

    (gap,), (lead,) = tell(spec, timed(spec)).gaps, tell(apart, timed(apart)).leads

    # Partial takes 24 s on every seed, Total 12, 24 and 48: the logarithms of the ratios are -log 2, 0 and log 2.
    assert gap.costs.seconds is not None
    assert gap.costs.seconds.values == pytest.approx((0.5, 1.0, 2.0))
    half = 4.302653 * log(2) / 3**0.5
    found = (gap.costs.seconds.ratio, gap.costs.seconds.low, gap.costs.seconds.high)
    assert found == pytest.approx((1.0, exp(-half), exp(half)))
    # Of equal stages the first is the largest; it was measured as Total was.
    assert gap.costs.memory == pytest.approx(2.5)
    assert (
        "Its training takes 1.00 times the seconds (95 % interval 0.18 to 5.59; 3 seeds) and 2.50 times the memory."
        in (gap.sentence)
    )
    assert lead.costs.memory == pytest.approx(1 / 2.5)
    assert (lead.variant_effort, lead.against_effort) == (gap.partial_effort, gap.total_effort)
    assert lead.variant_effort == Effort(trials=20, second_round_trials=0, passes=2)


def test_memory_that_was_measured_in_two_ways_is_not_compared(spec: ExperimentSpec) -> None:
    searches = seeded(spec, {}, {}, {})
    total = next(iter(searches))
    searches[total] = replace(searches[total], incumbent=training(0.5, memory=250))
    (gap,) = tell(spec, searches).gaps
    assert gap.costs.memory is None
    assert "the memory" not in gap.sentence


def test_a_second_round_is_effort_that_the_other_side_never_had(understand: Understand) -> None:
    spec = understand(**A, phases=[{"epochs": 1, "trials": 7}], search={"second_round": 3})
    searches = facts(plan_experiment(spec), [0.5] * 3)
    _, _, second = searches
    searches[second] = replace(searches[second], second_round=True)
    report = tell(spec, searches)
    assert report.gaps[0].partial_effort == Effort(trials=20, second_round_trials=3, passes=2)
    assert report.gaps[0].total_effort.second_round_trials == 0
    assert (
        "A partial had 3 more trials than its budget in second rounds, A total none: at equal epochs per stage nothing "
        "makes up for that."
    ) in report.notes


def test_every_rule_has_its_gap(understand: Understand) -> None:
    totals: list[dict[str, object]] = [
        {},
        {"budget": "passes"},
        {"budget": "seconds"},
        {"normalize_cuts": True},
        {"checkpointing": True},
    ]
    spec = understand(
        architectures={"A": ["Conv-3-8", "Pool-2"], "B": ["Conv-3-8 Pool-2"], "C": ["Conv-3-8", "Pool-2"]},
        variants=[
            {"architecture": "A", "learning": "partial"},
            *({"architecture": "A", "learning": "total"} | more for more in totals),
            {"architecture": "B", "learning": "total"},
        ],
    )
    plan = plan_experiment(spec)
    report = tell(spec, facts(plan, [0.5] * len(plan.searches)))
    # B total is A total by another name.
    assert [(gap.total, gap.budget, gap.normalize_cuts, gap.checkpointing) for gap in report.gaps] == [
        ("A total", "epochs", False, False),
        ("A total, equal passes", "passes", False, False),
        ("A total, equal seconds", "seconds", False, False),
        ("A total, normalised", "epochs", True, False),
        ("A total, checkpointed", "epochs", False, True),
    ]
    assert "at equal image passes" in report.gaps[1].sentence
    assert "at equal search seconds" in report.gaps[2].sentence
    # Against the baseline: four other totals; partial against it is the first gap already. What is checkpointed did as
    # well as the plain one on every seed: that is told twice, and asked once.
    assert (len(report.leads), report.comparisons) == (4, 7)


def test_a_checkpointed_total_that_repeats_the_plain_one_is_no_comparison_more(understand: Understand) -> None:
    spec = understand(
        **A,
        variants=[
            {"architecture": "A", "learning": "partial"},
            {"architecture": "A", "learning": "total"},
            {"architecture": "A", "learning": "total", "checkpointing": True},
        ],
    )
    plan = plan_experiment(spec)
    checkpointed = plan.searches[-1]
    searches = facts(plan, [0.5, 0.52, 0.5, 0.5])
    otherwise = searches | {checkpointed.key: facts(plan, [0.5, 0.52, 0.5, 0.49])[checkpointed.key]}
    report = tell(spec, searches)
    repeated, once = (
        {gap.total: gap.adjusted_p_value for gap in found.gaps} for found in (report, tell(spec, otherwise))
    )
    assert repeated["A total"] == repeated["A total, checkpointed"]
    assert report.comparisons == 1
    # One image in a hundred told otherwise, and it is a training of its own: also beside the plain one, the baseline.
    assert once["A total"] == pytest.approx(2 * repeated["A total"])
    assert [lead.adjusted_p_value for lead in report.leads] == [1.0]


def test_a_phase_is_compared_with_itself(understand: Understand) -> None:
    spec = understand(**A, phases=[{"epochs": 1, "trials": 11}, {"epochs": 2, "trials": 6}])
    report = tell(spec, facts(plan_experiment(spec), [0.5, 0.5, 0.52, 0.6, 0.6, 0.59]))
    assert [(gap.phase, round(gap.validation_points)) for gap in report.gaps] == [(0, -2), (1, 1)]
    assert report.gaps[1].sentence.startswith("phase 2: A total (10 trials, 2 passes) is 1.0 points above A partial")


def test_partial_of_a_network_too_large_for_total_is_measured_against_the_best_total_that_fits(
    understand: Understand,
) -> None:
    spec = understand(architectures={"S": ["Conv-3-8"], "M": ["Conv-5-8"], "L": ["Conv-3-64", "Conv-3-64"]})
    plan = plan_experiment(spec)
    searches = facts(plan, [0.5, 0.55, 0.1, 0.5, 0.6])
    whole = next(variant for variant in plan.variants if variant.variant.label == "L total").path[0]
    searches[whole] = ended(searches[whole], SearchState.INFEASIBLE, tried(None))
    report = tell(spec, searches)
    assert report.gaps == ()
    assert [(lead.variant, lead.against, lead.verdict) for lead in report.leads] == [
        ("M total", "S total", "better"),
        ("L partial", "S total", "better"),
        ("L partial", "M total", "better"),
    ]


def test_a_pair_that_is_a_gap_already_is_no_lead_as_well(understand: Understand) -> None:
    spec = understand(
        architectures={"L": ["Conv-3-64", "Conv-3-64"]},
        variants=[
            {"architecture": "L", "learning": "partial"},
            {"architecture": "L", "learning": "total"},
            {"architecture": "L", "learning": "total", "checkpointing": True},
        ],
        limits={"memory": "8MiB"},
    )
    plan = plan_experiment(spec)
    searches = facts(plan, [0.5] * len(plan.searches))
    whole = next(variant for variant in plan.variants if variant.variant.label == "L total").path[0]
    searches[whole] = ended(searches[whole], SearchState.INFEASIBLE, tried(None))
    report = tell(spec, searches)
    assert [(gap.total, gap.partial) for gap in report.gaps] == [("L total, checkpointed", "L partial")]
    assert (report.leads, report.comparisons) == ((), 1)


def test_without_the_first_architectures_total_there_are_no_leads(understand: Understand) -> None:
    spec = understand(**A, variants=[{"architecture": "A", "learning": "partial"}])
    report = tell(spec, facts(plan_experiment(spec), [0.5, 0.6]))
    assert (report.baseline, report.leads, report.comparisons) == (None, (), 0)
