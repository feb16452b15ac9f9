"""What a sentence of the report is about: a line of its table, or a stage, which several lines may share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from service.domain.report import Report, StageLine


@dataclass(slots=True)
class SharedStage:
    """One search as the ``number``-th stage, from 1, of all the lines ``users``; ``before`` it, what it stands on."""

    number: int
    stage: StageLine
    before: StageLine | None
    users: list[str] = field(default_factory=list)


def place(label: str, phase: int, phases: int) -> str:
    """`CNN 6 partial`, of several ``phases`` with its own, which is counted from 0: `CNN 6 partial, phase 2`."""
    return label if phases == 1 else f"{label}, phase {phase + 1}"


def listed(names: Sequence[str]) -> str:
    """`A, B and C`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def shared_stages(report: Report) -> Iterator[SharedStage]:
    """Every search of the report once, in the order of its table."""
    found: dict[UUID, SharedStage] = {}
    for line in report.variants:
        for index, stage in enumerate(line.stages):
            before = line.stages[index - 1] if index else None
            shared = found.setdefault(stage.search, SharedStage(index + 1, stage, before))
            shared.users.append(place(line.label, line.phase, len(report.phases)))
    yield from found.values()
