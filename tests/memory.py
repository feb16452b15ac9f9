"""How much memory a piece of work takes, that of native libraries included, which ``tracemalloc`` does not see."""

import re
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

Given = TypeVarTuple("Given")
Made = TypeVar("Made")

_STATUS = Path("/proc/self/status")
_after_first: list[int] = []


class Confined:
    """A process of its own that does one piece of work after the other and tells how far its memory has ever grown.

    What it does first loads whatever it needs; growth, in bytes, counts from there.
    """

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def __call__(self, work: Callable[[*Given], Made], *args: *Given) -> tuple[Made, int]:
        """What a function of some module returns, and the growth so far."""
        return self._pool.submit(_measured, partial(work, *args)).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown()


def _measured(work: Callable[[], Made]) -> tuple[Made, int]:
    made = work()
    if not _after_first:
        _after_first.append(_peak())
    return made, _peak() - _after_first[0]


def _peak() -> int:
    """The most memory that this process has had, in bytes."""
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # There ru_maxrss begins with that of the process which started this one, and would hide all below it.
    (kib,) = re.findall(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return int(kib) * 1024
