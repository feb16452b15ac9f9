"""One look for all who ask at once: open routes must not let strangers take the threads of others."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

SECONDS = 1.0
Found = TypeVar("Found")


class Shared(Generic[Found]):
    """The outcome of a look, as good for a second as a new one. Who asks meanwhile waits for it without a thread."""

    def __init__(self) -> None:
        self._look: asyncio.Task[Found] | None = None
        self._ended_at = 0.0

    async def get(self, look: Callable[[], Found]) -> Found:
        """What ``look`` finds now or found within the last second; it runs in a thread, once at a time."""
        if self._look is None or (self._look.done() and time.monotonic() - self._ended_at > SECONDS):
            self._look = asyncio.create_task(self._run(look))
        # Whoever began it may go away; others wait for it.
        return await asyncio.shield(self._look)

    async def _run(self, look: Callable[[], Found]) -> Found:
        try:
            return await run_in_threadpool(look)
        finally:
            self._ended_at = time.monotonic()
