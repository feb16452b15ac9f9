"""A report as CSV: one tidy table a file, in full precision.

Times are seconds, memory is bytes, accuracies lie in [0, 1], differences are percentage points, ratios are the first
side over the second. ``low`` and ``high`` bound 95 % intervals, empty with one seed. What is not known is empty.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

from client.rendering.text import learning_rate, mean, regularization
from client.variants import label, training_time
from contract.comparisons import Difference, Effort, Gap, Lead, Ratio
from contract.experiments import Interval, Report, StageLine, VariantLine

Cell = str | int | float | None


class Table(StrEnum):
    """What a line of the file is."""

    VARIANTS = "variants"
    STAGES = "stages"
    DIFFERENCES = "differences"


VARIANT_COLUMNS = (
    "phase", "epochs", "architecture", "learning", "state", "stages", "learning_rate", "regularization",
    "training_seconds", "training_seconds_low", "training_seconds_high", "search_seconds", "shared_seconds",
    "training_accuracy", "training_accuracy_low", "training_accuracy_high",
    "validation_accuracy", "validation_accuracy_low", "validation_accuracy_high",
    "test_accuracy", "test_accuracy_low", "test_accuracy_high",
    "memory_bytes", "analytic_memory_bytes", "resident_bytes", "memory_method",
    "label", "budget", "checkpointing", "normalize_cuts", "trials", "trials_per_stage", "fit_seconds",
    "activation_bytes", "stage_validation_accuracy", "head_test_accuracy", "knn_test_accuracy",
    "published_seconds", "published_training_accuracy", "published_validation_accuracy",
    "more_hyperparameters",
)  # fmt: skip
STAGE_COLUMNS = (
    "phase", "label", "architecture", "learning", "stage", "layers", "state", "epochs", "origin", "learning_rate",
    "regularization", "more_hyperparameters", "published_learning_rate", "published_regularization",
    "validation_accuracy", "confirmed_accuracy",
    "head_test_accuracy", "head_test_accuracy_low", "head_test_accuracy_high",
    "knn_test_accuracy", "knn_test_accuracy_low", "knn_test_accuracy_high",
    "trials", "pruned", "diverged", "failed", "training_seconds", "feature_seconds", "search_seconds", "saved_seconds",
    "memory_bytes", "analytic_memory_bytes", "activation_bytes", "resident_bytes",
    "reused", "shared_with", "second_round", "stagnating", "stagnating_beyond_noise",
)  # fmt: skip
DIFFERENCE_COLUMNS = (
    "phase", "comparison", "first", "second", "budget",
    "validation_points", "validation_low", "validation_high", "validation_standard_error", "validation_p_value",
    "validation_method", "test_points", "test_low", "test_high", "test_standard_error", "test_p_value", "test_method",
    "seeds", "adjusted_p_value", "verdict", "first_trials", "second_trials", "first_second_round_trials",
    "second_second_round_trials", "first_passes", "second_passes", "training_time_ratio", "training_time_ratio_low",
    "training_time_ratio_high", "memory_ratio", "first_memory_bytes", "second_memory_bytes",
)  # fmt: skip


def write_csv(report: Report, table: Table = Table.VARIANTS) -> str:
    """One of the report's tables, a line for each of its variants, their stages or differences between two of them."""
    match table:
        case Table.VARIANTS:
            return as_csv(VARIANT_COLUMNS, map(_variant, report.variants))
        case Table.STAGES:
            rows = (
                _stage(line, number, stage)
                for line in report.variants
                for number, stage in enumerate(line.stages, start=1)
            )
            return as_csv(STAGE_COLUMNS, rows)
        case Table.DIFFERENCES:
            memory = {(line.phase, label(line)): line.memory_bytes for line in report.variants}
            found: list[Gap | Lead] = [*report.gaps, *report.leads]
            return as_csv(DIFFERENCE_COLUMNS, (_difference(item, memory) for item in found))


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """CSV with a heading; spreadsheets run cells that begin like a formula, and names may come from someone else."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_harmless(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _variant(line: VariantLine) -> Sequence[Cell]:
    """Stages are joined by `;`."""
    paper = line.published
    return (
        line.phase + 1, line.epochs, line.architecture, line.learning, line.state,
        ";".join(stage.stage for stage in line.stages),
        _joined(line, lambda stage: learning_rate(stage.hyperparameters)),
        _joined(line, lambda stage: regularization(stage.hyperparameters)),
        *_bounds(training_time(line)), line.search_seconds, line.shared_seconds,
        *_bounds(line.training_accuracy), *_bounds(line.validation_accuracy), *_bounds(line.test_accuracy),
        line.memory_bytes, line.analytic_memory_bytes, line.resident_bytes, line.memory_method,
        label(line), line.budget, _truth(line.checkpointing), _truth(line.normalize_cuts),
        line.trials or sum(stage.trials for stage in line.stages),
        ";".join(map(str, line.trials_per_stage or [stage.trials for stage in line.stages])), line.fit_seconds,
        line.activation_bytes, _joined(line, lambda stage: stage.validation_accuracy),
        _joined(line, lambda stage: mean(stage.head_test_accuracy)),
        _joined(line, lambda stage: mean(stage.knn_test_accuracy)),
        *((paper.seconds, paper.training_accuracy, paper.validation_accuracy) if paper else (None,) * 3),
        ";".join(_more(stage) for stage in line.stages),
    )  # fmt: skip


def _stage(line: VariantLine, number: int, stage: StageLine) -> Sequence[Cell]:
    paper = line.published
    return (
        line.phase + 1, label(line), line.architecture, line.learning, number, stage.stage, stage.state, stage.epochs,
        stage.origin, learning_rate(stage.hyperparameters), regularization(stage.hyperparameters), _more(stage),
        *((paper.learning_rates[number - 1], paper.regularizations[number - 1]) if paper else (None, None)),
        stage.validation_accuracy, stage.confirmed_accuracy,
        *_bounds(stage.head_test_accuracy), *_bounds(stage.knn_test_accuracy),
        stage.trials, stage.pruned, stage.diverged, stage.failed,
        stage.training_seconds, stage.feature_seconds, stage.search_seconds, stage.saved_seconds,
        stage.memory_bytes, stage.analytic_memory_bytes, stage.activation_bytes, stage.resident_bytes,
        _truth(stage.reused), stage.shared_with, _truth(stage.second_round),
        _truth(stage.stagnating), _truth(stage.stagnating_beyond_noise),
    )  # fmt: skip


def _difference(item: Gap | Lead, memory: dict[tuple[int, str], int | None]) -> Sequence[Cell]:
    """The comparison is `gap`, Total minus Partial of a network, or `lead`, a variant minus the one it is held to."""
    if isinstance(item, Gap):
        kind, budget, first, second = "gap", item.budget, item.total, item.partial
        efforts = (item.total_effort, item.partial_effort)
        # A server of version 0.1 knows the points alone.
        points = (item.validation_points, item.test_points)
    else:
        kind, budget, first, second = "lead", None, item.variant, item.against
        efforts = (item.variant_effort, item.against_effort)
        points = (item.validation.points, None)
    costs = item.costs
    return (
        item.phase + 1, kind, first, second, budget,
        *_statistics(item.validation, points[0]), *_statistics(item.test, points[1]),
        None if item.validation is None else item.validation.seeds, item.adjusted_p_value,
        None if item.validation is None else item.verdict,
        *(told for of in (_trials, _second_round_trials, _passes) for told in map(of, efforts)),
        *_ratio(costs.seconds if costs else None), costs.memory if costs else None,
        memory.get((item.phase, first)), memory.get((item.phase, second)),
    )  # fmt: skip


def _statistics(value: Difference | None, points: float | None) -> Sequence[Cell]:
    if value is None:
        return (points, None, None, None, None, None)
    return (value.points, value.low, value.high, value.standard_error, value.p_value, value.method)


def _trials(effort: Effort | None) -> int | None:
    return None if effort is None else effort.trials


def _second_round_trials(effort: Effort | None) -> int | None:
    return None if effort is None else effort.second_round_trials


def _passes(effort: Effort | None) -> int | None:
    return None if effort is None else effort.passes


def _ratio(value: Ratio | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if value is None else (value.ratio, value.low, value.high)


def _joined(line: VariantLine, of_stage: Callable[[StageLine], float | None]) -> str:
    values = [of_stage(stage) for stage in line.stages]
    return ";".join("" if value is None else repr(value) for value in values)


def _more(stage: StageLine) -> str:
    """`learning_rate_1=0.01 regularization_1=0.001`: what a scheme adds to a stage's pair."""
    more = stage.hyperparameters.more if stage.hyperparameters else {}
    return " ".join(f"{name}={value!r}" for name, value in more.items())


def _bounds(value: Interval | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if value is None else (value.mean, value.low, value.high)


def _truth(value: bool) -> str:
    return str(value).lower()
