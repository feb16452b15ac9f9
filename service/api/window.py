"""Sliding minutes, in memory: when each party did something, for as long as that counts.

The library `limits` has such a window, too. Its memory keeps every key it has ever seen and looks at all of them again
and again, and keys are made by strangers here: by addresses, and by ids of workers.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

SECONDS = 60.0


class Window:
    """Counts by key over the last minute. Safe from threads.

    A key is forgotten a minute after it was last counted; of more than ``most_keys`` those counted longest ago are
    forgotten earlier, which lets them do more, never others less.
    """

    def __init__(self, most_keys: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_keys, self._clock = most_keys, clock
        self._lock = threading.Lock()
        # By their latest count: what is to be forgotten stands first, and no pass over all of them is needed.
        self._counted: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def hit(self, key: tuple[str, str], most: int) -> bool:
        """Count once more, unless ``most`` are counted; whether it was."""
        now = self._clock()
        with self._lock:
            if self._wait(key, most, now):
                return False
            self._counted.setdefault(key, deque()).append(now)
            self._counted.move_to_end(key)
            self._forget(now)
            return True

    def wait(self, key: tuple[str, str], most: int) -> float:
        """Seconds until another one would be counted, 0 for now."""
        with self._lock:
            return self._wait(key, most, self._clock())

    def __len__(self) -> int:
        return len(self._counted)

    def _wait(self, key: tuple[str, str], most: int, now: float) -> float:
        counted = self._counted.get(key, deque())
        while counted and counted[0] <= now - SECONDS:
            counted.popleft()
        return 0.0 if len(counted) < most else counted[len(counted) - most] + SECONDS - now

    def _forget(self, now: float) -> None:
        while True:
            key, counted = next(iter(self._counted.items()))
            # One that was looked at has nothing left of what is over.
            if counted and counted[-1] > now - SECONDS and len(self._counted) <= self._most_keys:
                return
            del self._counted[key]
