"""``python -m tests.survival.shifted SECONDS MODULE ...``: a module as a program whose clock is wrong by so much.

What libraries made in C ask the system for is right all the same; durations are, too.
"""

import datetime
import runpy
import sys
import time
from typing import Any

_Right = datetime.datetime


class _Kind(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Right)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _Right)


class _Wrong(_Right, metaclass=_Kind):
    """Makes moments of the ordinary class; only what it believes to be now is wrong."""

    shift = datetime.timedelta()

    def __new__(cls, *parts: Any, **more: Any) -> Any:
        return _Right(*parts, **more)

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _Right.now(tz) + cls.shift

    @classmethod
    def utcnow(cls) -> Any:
        return _Right.now(datetime.UTC).replace(tzinfo=None) + cls.shift

    @classmethod
    def today(cls) -> Any:
        return _Right.now().astimezone().replace(tzinfo=None) + cls.shift


def shift(seconds: float) -> None:
    """Let this process believe that it is so much later; before anything else is imported."""
    right, nanoseconds = time.time, time.time_ns
    time.time = lambda: right() + seconds
    time.time_ns = lambda: nanoseconds() + int(seconds * 1e9)
    _Wrong.shift = datetime.timedelta(seconds=seconds)
    datetime.datetime = _Wrong  # type: ignore[misc]


if __name__ == "__main__":
    shift(float(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
