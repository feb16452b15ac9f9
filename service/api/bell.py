"""Wakes the requests that wait for something to happen, without a thread or a connection each."""

import asyncio
from contextlib import suppress


class Bell:
    """Rung from any thread; every wait on the event loop ends then, or by its timeout."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()
        self.closed = False

    def open(self) -> None:
        """Belong to the running loop from now on."""
        self._loop, self._event, self.closed = asyncio.get_running_loop(), asyncio.Event(), False

    def ring(self) -> None:
        """Wake everybody who waits now. Safe from threads and signal handlers; nothing happens without a loop."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """Tell everybody who waits that the server stops."""
        self.closed = True
        self.ring()

    async def wait(self, seconds: float) -> None:
        """Return at the next ring, or after ``seconds``."""
        if not self.closed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._event.wait(), seconds)

    def _wake(self) -> None:
        self._event.set()
        self._event = asyncio.Event()
