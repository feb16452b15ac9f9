"""A report of the eight CNNs with every field filled, as a finished experiment on two seeds brings it."""

from itertools import accumulate
from typing import Any

from contract.comparisons import Costs, Difference, Effort, Gap, Lead, Ratio
from contract.experiments import (
    BestSoFar,
    CurvePoint,
    Interval,
    PhaseLine,
    Published,
    Report,
    StageLine,
    Trend,
    VariantLine,
)
from contract.submission import Point
from tests.client.builders import identifier, report, stage, variant

A, B, C, D = "Conv-3-32", "Conv-3-32 Pool-2", "Conv-3-32 Conv-1-32 Pool-2", "Conv-3-32 Conv-3-32 Pool-2"
NETWORKS = {
    "CNN 1": [D], "CNN 2": [A, B], "CNN 3": ["Conv-3-32 Conv-1-32", C], "CNN 4": ["Conv-3-32 Conv-3-32", D],
    "CNN 5": [C, C], "CNN 6": [D, D], "CNN 7": [C, C, C], "CNN 8": [D, D, D],
}  # fmt: skip


def spread(mean: float) -> Interval:
    return Interval(mean=mean, low=mean - 0.011, high=mean + 0.011, values=[mean - 0.002, mean + 0.002])


def seconds(first: float) -> Interval:
    """Of two seeds, the second of which took a second longer."""
    return Interval(mean=first + 0.5, low=first - 0.4, high=first + 1.4, values=[first, first + 1])


def difference(points: float, *, seeds: int = 2) -> Difference:
    return Difference(
        points=points, low=points - 1.6, high=points + 1.6, standard_error=0.8, p_value=0.02, seeds=seeds,
        method="paired" if seeds > 1 else "images", values=[points] * seeds,
    )  # fmt: skip


def trained(notation: str, number: int, reached: float, epochs: int) -> StageLine:
    steps = [number * 0.3 + 0.05 * n for n in range(1, 12)]
    return stage(
        notation,
        Point(learning_rate=1e-3 * 3**number, regularization=1e-2 / 4**number),
        search=identifier(f"{notation} {number}"), epochs=epochs, origin="model", validation_accuracy=reached,
        training_seconds=20.0 + 9 * number, search_seconds=240.0 + 30 * number, activation_bytes=2_000_000,
        stagnating=number == 2, stagnating_beyond_noise=number == 2, second_round=number == 2, reused=number == 0,
        curve=[CurvePoint(epoch=n / 4, validation_accuracy=reached * n / 4, seconds=n * 5) for n in range(1, 5)],
        best_so_far=[
            BestSoFar(trial=n, seconds=22.0 * n, validation_accuracy=None if n == 1 else reached - 0.2 / n)
            for n, _ in enumerate(steps, start=1)
        ],
        head_test_accuracy=spread(reached - 0.01), knn_test_accuracy=spread(reached - 0.08),
    )  # fmt: skip


def line(name: str, learning: Any, index: int, phase: int) -> VariantLine:
    notations = NETWORKS[name] if learning == "partial" else [" ".join(NETWORKS[name])]
    reached = [0.55 + 0.012 * index + 0.02 * number - 0.04 * (learning == "total") for number in range(len(notations))]
    factor = 1.4 if learning == "total" else 1
    stages = [trained(notation, number, reached[number], phase + 1) for number, notation in enumerate(notations)]
    paper = None
    if (learning == "partial") == (len(NETWORKS[name]) > 1):
        paper = Published(
            table=phase + 2, architecture=name, epochs=phase + 1, learning_rates=[6.9e-5] * len(stages),
            regularizations=[0.282346] * len(stages), seconds=2767.89, training_accuracy=0.535,
            validation_accuracy=0.54 - 0.01 * index,
        )  # fmt: skip
    return variant(
        name, learning, stages, phase=phase, epochs=phase + 1, label=f"{name} {learning}",
        training_seconds=sum(item.training_seconds or 0 for item in stages) * factor,
        mean_training_seconds=seconds(sum(item.training_seconds or 0 for item in stages) * factor),
        search_seconds=sum(item.search_seconds for item in stages), trials=11 * len(stages),
        trials_per_stage=[11] * len(stages), fit_seconds=44.0, activation_bytes=2_000_000,
        training_accuracy=spread(reached[-1] + 0.03), validation_accuracy=spread(reached[-1]),
        test_accuracy=spread(reached[-1] - 0.005), published=paper,
        memory_bytes=(40 if learning == "partial" else 40 + 22 * len(NETWORKS[name])) * 2**20 + index * 2**18,
    )  # fmt: skip


COSTS = Costs(seconds=Ratio(ratio=0.983, low=0.951, high=1.016, values=[0.98, 0.986]), memory=2.125)


def gap(name: str, phase: int, points: float) -> Gap:
    return Gap(
        phase=phase, partial=f"{name} partial", total=f"{name} total", validation_points=points, test_points=points,
        standard_error_points=0.9, validation=difference(points), test=difference(points - 0.2),
        adjusted_p_value=0.04, verdict="partial better" if points < -1.6 else "within noise",
        sentence=f"{name} total minus {name} partial", total_effort=Effort(trials=11, passes=phase + 1),
        partial_effort=Effort(trials=22, passes=2 * (phase + 1)), costs=COSTS,
    )  # fmt: skip


LAYERED = Point(
    learning_rate=0.056, regularization=1e-3,
    more={"learning_rate_10": 0.01, "learning_rate_2": 0.0034, "regularization_2": 2e-4, "regularization_10": 3e-4},
)  # fmt: skip
"""As the scheme per-layer chooses it for two convolutions, which come in any order; the base is the head's."""
GEOMETRIC = Point(
    learning_rate=0.012, regularization=3e-4, more={"learning_rate_factor": 0.5, "regularization_factor": 2.0}
)


CONDITIONS = [
    "training: batches of 50, cosine schedule, He's initialisation, mlp heads, at most 2,048.0 MiB a training",
    "search: sampler auto, learning rate 0.0001 to 0.2, a pair for every stage, no pruner, on the first of 2 seeds",
]
BUDGETS = [
    "phase 1: 1 epoch and 11 trials a stage",
    "phase 2: 2 epochs and 6 trials a stage, from the incumbents of the phase before",
]
"""As the server words them, in part."""


def layered_report() -> Report:
    """A variant with a stage of each scheme."""
    stages = [stage("Conv-3-8 Conv-3-8", LAYERED), stage("Conv-3-8", GEOMETRIC)]
    return report(variants=[variant("A", "partial", stages, label="A partial")], gaps=[])


def rich_report(phases: int = 2, **changes: Any) -> Report:
    lines = [
        line(name, learning, index, phase)
        for phase in range(phases)
        for index, name in enumerate(NETWORKS)
        for learning in (("total", "partial") if len(NETWORKS[name]) > 1 else ("total",))
    ]
    gaps = [gap(name, phase, -0.9 * n) for phase in range(phases) for n, name in enumerate(list(NETWORKS)[1:])]
    leads = [
        Lead(
            phase=item.phase, variant=item.label, against="CNN 1 total", validation=difference(index - 4.0),
            test=difference(index - 4.1), adjusted_p_value=0.0004, verdict="better" if index > 5 else "within noise",
            sentence="", variant_effort=Effort(trials=22, passes=2 * (item.phase + 1)),
            against_effort=Effort(trials=11, passes=item.phase + 1), costs=COSTS,
        )
        for index, item in enumerate(lines) if item.label != "CNN 1 total" and item.learning == "partial"
    ]  # fmt: skip
    starts = list(accumulate([11, -5][:phases]))
    facts: dict[str, Any] = {
        "name": "viable", "dataset": "cifar10", "train": 45_000, "validation": 5_000, "test": 10_000, "seeds": [0, 1],
        "variants": lines, "gaps": gaps, "leads": leads, "baseline": "CNN 1 total", "comparisons": len(gaps + leads),
        "phases": [PhaseLine(epochs=n + 1, trials=trials, start="incumbents") for n, trials in enumerate(starts)],
        "trends": [
            Trend(phase=0, variants=7, steps=9, learning_rate_rises=7, learning_rate_rises_throughout=5,
                  learning_rate_p_value=0.18, regularization_falls=8, regularization_falls_throughout=6,
                  regularization_p_value=0.04, sentence="from stage to stage the learning rate rises in 7 of 9 steps"),
        ],
        "search_seconds": 12_345.0, "fit_seconds": 2_345.0, "saved_seconds": 600.0, "reused_fits": 2,
        "conditions": CONDITIONS, "budgets": BUDGETS[:phases], "decided_searches": 18, "enqueued_incumbents": 3,
        "memory_limit": 2**31,
        "notes": ["CNN 3 partial, stage 2 stagnates: 0.571 after 0.583"],
    }  # fmt: skip
    return report(**(facts | changes))
