"""How often one may ask: counted in this process, by token, by worker and by address.

Every limit on a rate is a sliding window of a minute; 0 in the settings takes a limit away.
"""

import ipaddress
import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from service.api.window import Window
from service.domain.access import Identity, Scope
from service.domain.errors import TooManyRequests
from service.settings import Settings
from service.storage import Storage
from service.usecases.own_worker import count_slots

_REMEMBERED = 10_000
# Slots change with workers that come and go; a count a few seconds old is as good.
_SLOTS_SECONDS = 5.0
# Nobody knows when one of the others is closed.
_STREAM_SECONDS = 10


class Limits:
    """The server's limits on rates and streams. Every method may raise TooManyRequests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._window = Window(_REMEMBERED)
        self._lock = threading.Lock()
        self._valid: OrderedDict[str, None] = OrderedDict()
        self._slots: OrderedDict[UUID, tuple[float, int]] = OrderedDict()
        self._streams: Counter[str] = Counter()

    def check_guess(self, fingerprint: str, address: str) -> None:
        """Before a secret is looked up: an address that guessed wrong too often is not answered for a while.

        Secrets that were valid a moment ago are, or one stranger would lock out all who share his address.
        """
        with self._lock:
            known = fingerprint in self._valid
        if not known:
            self._check("guess", address, self._settings.guesses_per_minute, "too many secrets that were not valid")

    def note_guess(self, fingerprint: str, address: str, *, valid: bool) -> None:
        """After the look-up."""
        if not valid:
            self._hit("guess", address, self._settings.guesses_per_minute)
            with self._lock:
                self._valid.pop(fingerprint, None)
            return
        with self._lock:
            self._valid[fingerprint] = None
            if len(self._valid) > _REMEMBERED:
                self._valid.popitem(last=False)

    def spend_request(self, store: Storage, identity: Identity, alive_seconds: float) -> None:
        """Count a request of somebody known.

        A token may ask so often by itself, and so much more for every slot of the live workers that it announced: a
        fleet with one token is not throttled for its size, nor by one of its workers before all have their share.
        """
        settings = self._settings
        if self._hit("request", identity.key, settings.requests_per_minute):
            return
        if identity.token is not None and Scope.WORKER in identity.scope.granted:
            most = self._slots_of(store, identity.token, alive_seconds) * settings.worker_requests_per_minute
            if most or not settings.worker_requests_per_minute:
                self._spend("slots", identity.key, most, "too many requests for the workers of this token")
                return
        self._refuse("request", identity.key, settings.requests_per_minute, "too many requests with this token")

    def check_claim(self, worker: UUID, slots: int) -> None:
        """Before a worker with so many slots asks for a task."""
        most = slots * self._settings.claims_per_minute
        self._check("claim", str(worker), most, "nothing is ready; ask with wait_seconds")

    def note_empty_claim(self, worker: UUID, slots: int) -> None:
        """A worker was told that there is nothing to do. What brings a task is limited by the tasks there are."""
        self._hit("claim", str(worker), slots * self._settings.claims_per_minute)

    @contextmanager
    def open_stream(self, identity: Identity) -> Iterator[None]:
        """While a stream of events is open: each asks the database once a second."""
        most = self._settings.open_streams
        with self._lock:
            if most and self._streams[identity.key] >= most:
                raise TooManyRequests(f"{most} event streams are open already; close one first", _STREAM_SECONDS)
            self._streams[identity.key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._streams[identity.key] -= 1
                if not self._streams[identity.key]:
                    del self._streams[identity.key]

    def check_login(self, address: str) -> None:
        """Before the body of a login is read."""
        self._check("login", address, self._settings.logins_per_minute, "too many logins that failed")

    def note_login(self, address: str) -> None:
        """A login failed, whatever was wrong with it."""
        self._hit("login", address, self._settings.logins_per_minute)

    def _slots_of(self, store: Storage, token: UUID, alive_seconds: float) -> int:
        now = time.monotonic()
        with self._lock:
            at, slots = self._slots.get(token, (-_SLOTS_SECONDS, 0))
        if now - at < _SLOTS_SECONDS:
            return slots
        slots = count_slots(store, token, alive_seconds)
        with self._lock:
            self._slots[token] = now, slots
            if len(self._slots) > _REMEMBERED:
                self._slots.popitem(last=False)
        return slots

    def _hit(self, kind: str, key: str, most: int) -> bool:
        return not most or self._window.hit((kind, network_of(key)), most)

    def _spend(self, kind: str, key: str, most: int, why: str) -> None:
        if not self._hit(kind, key, most):
            self._refuse(kind, key, most, why)

    def _check(self, kind: str, key: str, most: int, why: str) -> None:
        if most and self._window.wait((kind, network_of(key)), most):
            self._refuse(kind, key, most, why)

    def _refuse(self, kind: str, key: str, most: int, why: str) -> None:
        seconds = max(1, math.ceil(self._window.wait((kind, network_of(key)), most)))
        raise TooManyRequests(f"{why}: {most} a minute are taken", seconds)


def network_of(address: str) -> str:
    """What one party has of an address: of IPv6 the network, whose addresses it can change at will."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
