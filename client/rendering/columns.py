"""The columns of the Total against Partial table, as every format writes them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from client.rendering.text import NOTHING, duration, durations, hyperparameters, interval, size
from client.variants import training_time
from contract.experiments import Report, StageLine, VariantLine


@dataclass(frozen=True)
class Column:
    """A column of figures: its heading and what stands in it, of some columns a line for each stage."""

    heading: str
    cell: Callable[[VariantLine], str]


def per_stage(cell: Callable[[StageLine], str]) -> Callable[[VariantLine], str]:
    """A line for each stage of a variant."""
    return lambda line: "\n".join(cell(stage) for stage in line.stages)


POINTS = Column("lr / regularization per stage", per_stage(lambda stage: hyperparameters(stage.hyperparameters)))
ACCURACIES = (
    Column("training acc.", lambda line: interval(line.training_accuracy)),
    Column("validation acc.", lambda line: interval(line.validation_accuracy)),
    Column("test acc.", lambda line: interval(line.test_accuracy)),
)
PROBES = (
    Column("head test acc.", per_stage(lambda stage: interval(stage.head_test_accuracy))),
    Column("k-NN test acc.", per_stage(lambda stage: interval(stage.knn_test_accuracy))),
)
TRAINING = Column("training time", lambda line: durations(training_time(line)))
SEARCH = Column("search time", lambda line: duration(line.search_seconds))
FITS = Column("fit time", lambda line: duration(line.fit_seconds) if line.fit_seconds else NOTHING)
MEMORY = (
    Column("memory", lambda line: size(line.memory_bytes)),
    Column("analytic", lambda line: size(line.analytic_memory_bytes)),
)
ACTIVATIONS = Column("activations", lambda line: size(line.activation_bytes))
RESIDENT = Column("resident", lambda line: size(line.resident_bytes))


def trials(line: VariantLine) -> str:
    """`22 = 11 + 11`: in all and per stage, over the seeds that were searched."""
    by_stage = line.trials_per_stage or [stage.trials for stage in line.stages]
    total = line.trials or sum(by_stage)
    return str(total) if len(by_stage) == 1 else f"{total} = {' + '.join(map(str, by_stage))}"


TRIALS = Column("trials", trials)


def column_groups(report: Report) -> list[tuple[Column, ...]]:
    """All columns of a report in groups that stay together; what no variant has is left out."""
    stages = [stage for line in report.variants for stage in line.stages]
    probed = any(stage.head_test_accuracy or stage.knn_test_accuracy for stage in stages)
    fitted = any(line.fit_seconds for line in report.variants)
    counted = any(line.activation_bytes for line in report.variants)
    return [
        (POINTS, *ACCURACIES),
        *((PROBES,) if probed else ()),
        (TRIALS, TRAINING, SEARCH, *((FITS,) if fitted else ())),
        (*MEMORY, *((ACTIVATIONS,) if counted else ()), RESIDENT),
    ]


def columns(report: Report) -> list[Column]:
    """All columns of a report."""
    return [column for group in column_groups(report) for column in group]


def packed(
    groups: Sequence[tuple[Column, ...]], fits: Callable[[Sequence[Column]], bool]
) -> Iterator[tuple[Column, ...]]:
    """The groups joined to as few tables as fit, in their order."""
    table: tuple[Column, ...] = ()
    for group in groups:
        if table and not fits((*table, *group)):
            yield table
            table = ()
        table = (*table, *group)
    yield table
