"""Sizes and durations as people write them: ``8GiB``, ``2h``."""

import re

_BYTES = {
    "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([A-Za-z]+)")


def parse_size(text: str) -> int:
    """Bytes of ``8GiB`` or ``500 MB``; ValueError with what to write for anything else."""
    return int(_scaled(text, _BYTES, "a size such as 8GiB or 500MB"))


def parse_duration(text: str) -> float:
    """Seconds of ``2h`` or ``90 s``; ValueError with what to write for anything else."""
    return _scaled(text, _SECONDS, "a duration such as 90s, 15m or 2h")


def mebibytes(size: int) -> str:
    """`1,562.5 MiB` of bytes."""
    return f"{size / 2**20:,.1f} MiB"


def _scaled(text: str, units: dict[str, int], wanted: str) -> float:
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or found[2] not in units:
        raise ValueError(f"{text[:40]!r} is not {wanted}")
    value = float(found[1]) * units[found[2]]
    if not 1 <= value < 2**62:
        raise ValueError(f"{text[:40]!r} is out of range; write {wanted}")
    return value
