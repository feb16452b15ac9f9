"""The conditions of a report: complete, and different wherever the submission is."""

from typing import Any

import pytest

from contract import experiments
from service.domain.conditions import budgets, conditions
from service.domain.plan import plan_experiment
from tests.service.domain.reports import Understand, facts, tell

CUT = {"A": ["Conv-3-8", "Pool-2"]}


def test_defaults_are_told_as_well(understand: Understand) -> None:
    assert conditions(understand(architectures=CUT)) == (
        (
            "training: batches of 50, SGD with momentum 0.9, cosine schedule, PyTorch's own initialisation, "
            "linear heads, classification in every stage, stage inputs standardised, features cached, precision auto, "
            "no limits"
        ),
        (
            "search: sampler auto, learning rate 0.0001 to 0.2, regularization 1e-6 to 0.1, a pair for every stage, "
            "no pruner, no range tests, no second rounds, no confirmation"
        ),
    )


@pytest.mark.parametrize(
    ("wishes", "told"),
    [
        ({"training": {"batch_size": 20}}, "batches of 20, "),
        ({"training": {"momentum": 0}}, "SGD without momentum, "),
        ({"training": {"schedule": "constant"}}, "constant learning rate, "),
        ({"training": {"initialization": "he"}}, "He's initialisation, "),
        ({"training": {"head": "mlp"}}, "mlp heads, "),
        ({"training": {"objective": "contrastive"}}, "contrastive before the last stage, "),
        ({"training": {"standardize_inputs": False}}, "stage inputs as they are, "),
        ({"training": {"features": "recomputed"}}, "features recomputed for every batch, "),
        ({"training": {"precision": "bfloat16"}}, "precision bfloat16, "),
        ({"limits": {"memory": "40MiB"}}, ", at most 40.0 MiB a training"),
        ({"limits": {"memory": "2GiB", "time": "2h"}}, ", at most 2,048.0 MiB and 7,200 s a training"),
        ({"search": {"sampler": "tpe"}}, "search: sampler tpe, "),
        ({"search": {"sampler": "random-exponential"}}, "from learning rate 0.0001 and regularization 1, a pair"),
        ({"search": {"space": {"learning_rate": {"low": 0.001, "high": 0.5}}}}, "learning rate 0.001 to 0.5, "),
        ({"search": {"scheme": "per-layer"}}, "a pair for every layer, "),
        (
            {"search": {"scheme": "geometric"}},
            "factors from layer to layer, of learning rate 0.25 to 4, of regularization 0.1 to 10, ",
        ),
        (
            {"search": {"enqueue": [{"learning_rate": 0.01, "regularization": 0.01}]}},
            ", 1 hand-picked point first, ",
        ),
        ({"search": {"pruner": "asha"}}, ", pruner asha, "),
        ({"search": {"range_test": True}}, ", range tests, "),
        ({"search": {"second_round": 4}}, ", second rounds of 4 trials, "),
        ({"search": {"confirm_seeds": 2}}, ", confirmation with 2 seeds"),
        ({"seeds": [0, 1]}, ", on the first of 2 seeds"),
        ({"seeds": [0, 1], "search": {"seeds": "each"}}, ", on each of 2 seeds"),
    ],
)
def test_every_condition_has_its_words(understand: Understand, wishes: dict[str, Any], told: str) -> None:
    plain, other = conditions(understand(architectures=CUT)), conditions(understand(architectures=CUT, **wishes))

    assert told in "\n".join(other)
    assert told not in "\n".join(plain)


def test_total_learning_alone_has_no_conditions_of_stages(understand: Understand) -> None:
    training, _ = conditions(understand(architectures={"A": ["Conv-3-8"]}))

    assert training.endswith("linear heads, precision auto, no limits")


def test_every_phase_has_a_line_on_its_budget(understand: Understand) -> None:
    phases = [{"epochs": 1, "trials": 11}, {"epochs": 2, "trials": 1}, {"epochs": 1, "trials": 3, "start": "initial"}]

    assert budgets(understand(architectures=CUT, phases=phases)) == (
        "phase 1: 1 epoch and 11 trials a stage",
        "phase 2: 2 epochs and 1 trial a stage, from the incumbents of the phase before",
        "phase 3: 1 epoch and 3 trials a stage, from the initial points again",
    )
    assert budgets(understand(architectures=CUT, phases=phases[:1])) == ("budget: 1 epoch and 11 trials a stage",)


def test_a_report_carries_its_conditions_as_words_and_as_fields(understand: Understand) -> None:
    spec = understand(
        architectures=CUT, training={"schedule": "constant", "head": "mlp"}, search={"pruner": "median"},
        limits={"time": "90s"},
    )  # fmt: skip

    sent = experiments.Report.model_validate(tell(spec, facts(plan_experiment(spec), [0.6, 0.5, 0.55])))

    assert sent.conditions == list(conditions(spec))
    assert sent.budgets == list(budgets(spec))
    assert sent.recipe is not None
    assert (sent.recipe.schedule, sent.recipe.head, sent.recipe.batch_size) == ("constant", "mlp", 50)
    assert sent.search is not None
    assert (sent.search.pruner, sent.search.space.learning_rate.high, sent.time_limit) == ("median", 0.2, 90.0)


def test_a_client_reads_what_a_newer_server_adds(understand: Understand) -> None:
    spec = understand(architectures=CUT)
    report = experiments.Report.model_validate(tell(spec, facts(plan_experiment(spec), [0.6, 0.5, 0.55])))
    answer = report.model_dump(mode="json")
    assert answer["recipe"]["schedule"] == "cosine", "defaults included"
    answer["recipe"]["warmup"] = answer["search"]["patience"] = 3

    assert experiments.Report.model_validate(answer) == report
