"""Variants of an experiment by the names that people give them."""

import re
from collections.abc import Sequence

from client.errors import BadUsage
from contract.experiments import Interval, Report, VariantLine
from contract.networks import NetworkChoice


def label(line: VariantLine) -> str:
    """`CNN 6 total, equal passes`; servers of version 0.1 only know `CNN 6 total`."""
    return line.label or f"{line.architecture} {line.learning}"


def training_time(line: VariantLine) -> Interval | None:
    """Seconds over the seeds; servers of version 0.1 only know those of the first."""
    if line.mean_training_seconds is not None or line.training_seconds is None:
        return line.mean_training_seconds
    return Interval(mean=line.training_seconds, low=None, high=None, values=[line.training_seconds])


def find_variant(report: Report, name: str | None, phase: int | None) -> VariantLine:
    """The line that is meant, or the only one; ``phase`` counts from 1, by default it is the last. Raises BadUsage."""
    lines = lines_of_phase(report, phase)
    if name is None:
        if len(lines) == 1:
            return lines[0]
        raise BadUsage(f"name a variant with --variant; there are {_listed(lines)}")
    wanted = _plain(name)
    for line in lines:
        if _plain(label(line)) == wanted:
            return line
    raise BadUsage(f"there is no variant {name!r}; there are {_listed(lines)}")


def lines_of_phase(report: Report, phase: int | None) -> list[VariantLine]:
    """The variants of a phase, counted from 1; by default the last. Raises BadUsage."""
    last = max((line.phase for line in report.variants), default=0) + 1
    if phase is not None and phase > last:
        raise BadUsage(f"there is no phase {phase}; the last is {last}")
    return [line for line in report.variants if line.phase + 1 == (phase or last)]


def choice_of(line: VariantLine, seed: int | None) -> NetworkChoice:
    """What the server is asked for."""
    return NetworkChoice(
        architecture=line.architecture,
        learning=line.learning,
        budget=line.budget,
        checkpointing=line.checkpointing,
        normalize_cuts=line.normalize_cuts,
        phase=line.phase,
        seed=seed,
    )


def run_name(report: Report, variant: str, phase: int, seed: int) -> str:
    """`CNN 6 partial phase 2 seed 1`, of several phases and seeds only; ``phase`` counts from 0."""
    phases = len({line.phase for line in report.variants})
    parts = [variant, f"phase {phase + 1}" if phases > 1 else "", f"seed {seed}" if len(report.seeds) > 1 else ""]
    return " ".join(filter(None, parts))


def file_name(*parts: str) -> str:
    """`tsne-cnn-6-partial`: nothing that a file system or a shell would stumble over."""
    return "-".join(filter(None, (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)))


def _plain(name: str) -> str:
    return " ".join(name.replace(",", " ").lower().split())


def _listed(lines: Sequence[VariantLine]) -> str:
    return "; ".join(label(line) for line in lines) or "none"
