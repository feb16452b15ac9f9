from collections.abc import Callable
from typing import Any

import pytest

from contract.submission import DatasetChoice, Submission
from service.domain.errors import InvalidSubmission
from service.domain.experiment import Dataset, ExperimentSpec, Limits, Split, Variant
from service.domain.space import DEFAULT_FACTORS, DEFAULT_SPACE, EXPONENTIAL_SPACE, Interval, Point
from service.domain.states import Learning, Sampler
from service.domain.submission import build_spec

Understand = Callable[..., ExperimentSpec]
ONE = {"A": ["Conv-3-8 Pool-2"]}
TWO = {"A": ["Conv-3-8", "Pool-2"]}


def faults(understand: Understand, **wishes: Any) -> dict[str, str]:
    with pytest.raises(InvalidSubmission) as caught:
        understand(**wishes)
    return {fault.path: fault.message for fault in caught.value.faults}


def test_everything_but_name_data_set_and_architectures_has_a_default(understand: Understand) -> None:
    spec = understand(dataset={"name": "cifar10"}, architectures=TWO | {"B": ["Pool-2"]})
    assert spec.split == Split(45_000, 5_000, "standardize")
    assert spec.variants == (
        Variant("A", Learning.TOTAL),
        Variant("A", Learning.PARTIAL),
        Variant("B", Learning.TOTAL),
    )
    assert spec.search.sampler is Sampler.AUTO
    assert spec.search.space == DEFAULT_SPACE
    assert spec.limits == Limits(None, None)
    assert spec.seeds == (0,)


@pytest.mark.parametrize(
    ("choice", "train", "validation"),
    [
        ({"train": 1_000}, 1_000, 5_000),
        ({"train": 49_000}, 49_000, 1_000),
        ({"validation": 1_000}, 49_000, 1_000),
        ({"train": 100, "validation": 20}, 100, 20),
    ],
)
def test_a_split_follows_from_what_is_given(
    understand: Understand, choice: dict[str, int], train: int, validation: int
) -> None:
    spec = understand(dataset={"name": "cifar10", **choice})
    assert (spec.split.train, spec.split.validation) == (train, validation)


@pytest.mark.parametrize(
    ("choice", "path", "message"),
    [
        (
            {"train": 50_000, "validation": 1_000},
            "dataset",
            "cifar10 has 50,000 training images; train + validation = 51,000: lower one of them",
        ),
        (
            {"train": 50_000},
            "dataset.train",
            "cifar10 has 50,000 training images; 50,000 to train on leave none for validation: lower it",
        ),
        (
            {"validation": 60_000},
            "dataset.validation",
            "cifar10 has 50,000 training images; 60,000 for validation leave none to train on: lower it",
        ),
    ],
)
def test_a_split_larger_than_the_data_set_is_refused(
    understand: Understand, choice: dict[str, int], path: str, message: str
) -> None:
    assert faults(understand, dataset={"name": "cifar10", **choice}) == {path: message}


def test_all_faults_are_told_at_once(understand: Understand) -> None:
    found = faults(
        understand,
        architectures={"A": ["Conv-3"], "a ": ["Pool-2"], "B": ["Pool-32", "Pool-2", ""], "C": ["Pool-64"]},
        variants=[{"architecture": "Bb", "learning": "total"}, {"architecture": "C", "learning": "partial"}],
        search={"enqueue": [{"learning_rate": 5, "regularization": 1e-3}]},
        training={"batch_size": 50_000},
        seeds=[1, 2, 1],
        limits={"memory": "0B", "time": "0s"},
    )
    assert set(found) == {
        "architectures.A[0]",
        "architectures.a",
        "architectures.B[1]",
        "architectures.B[2]",
        "architectures.C[0]",
        "variants[0].architecture",
        "variants[1].learning",
        "search.enqueue[0].learning_rate",
        "training.batch_size",
        "seeds[2]",
        "limits.memory",
        "limits.time",
    }


def test_names_that_differ_only_in_case_or_spaces_are_refused(understand: Understand) -> None:
    found = faults(understand, architectures={"CNN 1": ["Pool-2"], "cnn1": ["Pool-2"]})
    assert found == {"architectures.cnn1": "differs from 'CNN 1' only in case or spaces: rename one of them"}


def test_an_unknown_architecture_is_told_its_likely_name(understand: Understand) -> None:
    found = faults(understand, architectures=TWO, variants=[{"architecture": "a", "learning": "total"}])
    assert found == {"variants[0].architecture": "there is no architecture 'a': did you mean 'A'?"}
    found = faults(understand, architectures=TWO, variants=[{"architecture": "xyz", "learning": "total"}])
    assert found == {"variants[0].architecture": "there is no architecture 'xyz': write one of A"}


def test_partial_learning_of_one_stage_is_refused(understand: Understand) -> None:
    found = faults(understand, architectures=ONE, variants=[{"architecture": "A", "learning": "partial"}])
    assert found == {"variants[0].learning": "A has one stage, so partial learning is total learning: write total"}


def test_a_variant_stands_once(understand: Understand) -> None:
    found = faults(understand, architectures=TWO, variants=[{"architecture": "A", "learning": "total"}] * 2)
    assert found == {"variants[1]": "A total stands at variants[0] already: leave one out"}


def test_a_start_point_outside_the_space_is_refused(understand: Understand) -> None:
    found = faults(understand, search={"enqueue": [{"learning_rate": 0.01, "regularization": 1}]})
    assert found == {
        "search.enqueue[0].regularization": (
            "1 lies outside the search space 1e-06 to 0.1: change it or widen search.space.regularization"
        )
    }


def test_more_start_points_than_trials_are_refused(understand: Understand) -> None:
    points = [{"learning_rate": 0.01, "regularization": 10**-n} for n in (2, 3, 4)]
    found = faults(understand, search={"enqueue": points}, phases=[{"trials": 5}, {"trials": 2}])
    assert found == {"phases[1].trials": "2 trials cannot try the 3 points of search.enqueue: raise it"}


def test_a_start_point_stands_once(understand: Understand) -> None:
    found = faults(understand, search={"enqueue": [{"learning_rate": 0.01, "regularization": 0.01}] * 2})
    assert found == {"search.enqueue[1]": "repeats search.enqueue[0]: leave one out"}


def test_random_exponential_has_a_wide_space_and_one_start(understand: Understand) -> None:
    spec = understand(search={"sampler": "random-exponential"})
    assert spec.search.space == EXPONENTIAL_SPACE
    assert spec.search.initial == Point(1e-4, 1.0)
    narrow = {"learning_rate": {"low": 1e-3, "high": 1}, "regularization": {"low": 0.1, "high": 10}}
    assert faults(understand, search={"sampler": "random-exponential", "space": narrow}).keys() == {
        "search.initial.learning_rate"
    }
    enqueue = [{"learning_rate": 1e-3, "regularization": 1}]
    assert faults(understand, search={"sampler": "random-exponential", "enqueue": enqueue}).keys() == {"search.enqueue"}


INITIAL = {"initial": {"learning_rate": 1e-4, "regularization": 1}}


@pytest.mark.parametrize(
    ("search", "found"),
    [
        (
            INITIAL,
            {
                "search.initial": "is where random-exponential starts, and the sampler is auto: put the point into "
                "search.enqueue, or write sampler: random-exponential"
            },
        ),
        (
            {"space": {"learning_rate_factor": {"low": 0.25, "high": 4}}, "scheme": "per-layer"},
            {
                "search.space.learning_rate_factor": "belongs to the scheme geometric, and the scheme is per-layer: "
                "leave it out, or write scheme: geometric"
            },
        ),
        (
            {"space": {"regularization_factor": {"low": 0.5, "high": 4}}},
            {
                "search.space.regularization_factor": "belongs to the scheme geometric, and the scheme is per-stage: "
                "leave it out, or write scheme: geometric"
            },
        ),
        (
            {"sampler": "random-exponential", "range_test": True, "second_round": 3},
            {
                "search.range_test": "bounds a space, and random-exponential draws around search.initial without one: "
                "leave it out, or take another sampler",
                "search.second_round": "widens a space, and random-exponential draws around search.initial without "
                "one: leave it out, or take another sampler",
            },
        ),
    ],
)
def test_what_a_search_has_no_use_for_is_refused(
    understand: Understand, search: dict[str, Any], found: dict[str, str]
) -> None:
    assert faults(understand, architectures=TWO, search=search) == found


def test_what_a_search_has_a_use_for_is_taken(understand: Understand) -> None:
    exponential = {"sampler": "random-exponential", "range_test": False, "second_round": 0} | INITIAL
    assert understand(search=exponential).search.initial == Point(1e-4, 1.0)
    factors = understand(search={"scheme": "geometric", "space": {"learning_rate_factor": {"low": 0.5, "high": 2}}})
    assert factors.search.learning_rate_factor == Interval(0.5, 2.0)
    assert factors.search.regularization_factor == DEFAULT_FACTORS[1]


@pytest.mark.parametrize(
    ("wishes", "path", "message"),
    [
        (
            {
                "phases": [
                    {"epochs": 1, "trials": 2, "start": "initial"},
                    {"epochs": 2, "trials": 2, "start": "initial"},
                ]
            },
            "phases[0].start",
            "initial is for a phase after another, instead of its incumbents: leave it out",
        ),
        (
            {"search": {"seeds": "each"}, "seeds": [7]},
            "search.seeds",
            "each is for several seeds, and there is only 7: add others to seeds, or leave it out",
        ),
        (
            {"search": {"confirm_seeds": 3}, "phases": [{"epochs": 1, "trials": 1}, {"epochs": 2, "trials": 1}]},
            "search.confirm_seeds",
            "chooses among the 2 best trials of a search, and each has one: raise phases[0].trials, or leave it out",
        ),
    ],
)
def test_what_the_rest_leaves_nothing_to_do_is_refused(
    understand: Understand, wishes: dict[str, Any], path: str, message: str
) -> None:
    assert faults(understand, architectures=TWO, **wishes) == {path: message}


SECONDS = [
    {"architecture": "A", "learning": "partial"},
    {"architecture": "A", "learning": "total", "budget": "seconds"},
]


@pytest.mark.parametrize(
    "wishes",
    [
        {"search": {"confirm_seeds": 1}, "phases": [{"epochs": 1, "trials": 1}, {"epochs": 2, "trials": 2}]},
        {"search": {"confirm_seeds": 1, "second_round": 1}, "phases": [{"epochs": 1, "trials": 1}]},
        {"search": {"confirm_seeds": 1}, "phases": [{"epochs": 1, "trials": 1}], "variants": SECONDS},
    ],
)
def test_confirmations_that_some_search_may_need_are_taken(understand: Understand, wishes: dict[str, Any]) -> None:
    assert understand(architectures=TWO, **wishes).search.confirm_seeds == 1


@pytest.mark.parametrize(
    "wishes", [{"architectures": ONE}, {"architectures": TWO, "variants": [{"architecture": "A", "learning": "total"}]}]
)
def test_an_objective_without_a_stage_before_the_last_is_refused(understand: Understand, wishes: Any) -> None:
    assert faults(understand, **wishes, training={"objective": "contrastive"}) == {
        "training.objective": "contrastive is for stages before the last, and no variant has any: add a partial one of "
        "an architecture with cuts, or leave it out"
    }


def test_a_normalisation_that_partial_has_not_is_refused(understand: Understand) -> None:
    variants = [{"architecture": "A", "learning": "partial"}, {"architecture": "A", "learning": "total"}]
    variants[1] |= {"normalize_cuts": True}  # type: ignore[dict-item]
    found = faults(understand, architectures=TWO, variants=variants, training={"standardize_inputs": False})
    assert found == {
        "variants[1].normalize_cuts": "gives total what partial's standardised inputs have, and "
        "training.standardize_inputs is false: change one of them"
    }


def test_a_space_of_ones_own_is_taken(understand: Understand) -> None:
    space = {"learning_rate": {"low": 1e-3, "high": 1}, "regularization": {"low": 1e-8, "high": 1e-2}}
    spec = understand(search={"space": space})
    assert spec.search.space.learning_rate == Interval(1e-3, 1.0)
    assert spec.search.space.regularization == Interval(1e-8, 1e-2)


def test_limits_are_bytes_and_seconds(understand: Understand) -> None:
    assert understand(limits={"memory": "8GiB", "time": "2h"}).limits == Limits(8 * 2**30, 7200.0)


def test_networks_beyond_reason_are_refused(understand: Understand) -> None:
    assert faults(understand, architectures={"A": ["Conv-64-65536 Conv-64-65536"]}).keys() == {"architectures.A[0]"}
    many = {f"A{number}": ["Pool-1"] * 1_000 for number in range(21)}
    assert faults(understand, architectures=many).keys() == {"architectures"}


def test_shapes_follow_the_data_set(cifar10: Dataset) -> None:
    digits = Dataset("digits", "d" * 64, (1, 8, 8), 10, 1_437, 360)
    document = Submission(
        name="small", dataset=DatasetChoice(name="digits"), architectures={"A": ["Conv-3-8 Pool-8", "Pool-2"]}
    ).model_dump()
    with pytest.raises(InvalidSubmission, match=r"architectures\.A\[1\]: Pool-2 does not fit: 1 x 1 pixels reach it"):
        build_spec(document, digits)
    assert build_spec(document, cifar10).dataset is cifar10
