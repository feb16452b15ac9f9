"""Refusals in the audit trail, told together: a flood of them costs a few lines and a few writes."""

import logging
import threading
import time
from dataclasses import dataclass

from service.api.limits import network_of
from service.domain.access import Identity
from service.domain.errors import DatabaseUnavailable
from service.settings import Settings
from service.storage import Storage
from service.usecases.write_audit import begin_entry, count_entry

log = logging.getLogger(__name__)

WINDOW_SECONDS = 600.0
MOST_LINES = 100
SEVERAL = "several"
STRANGER = "stranger"


@dataclass(slots=True)
class _Told:
    times: int = 0
    entry: int | None = None


class Refusals:
    """Remembers what was refused to whom, and tells it: at once, then whenever the count has doubled.

    At most a hundred lines in ten minutes; what is beyond is told as one line from several addresses.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._since = time.monotonic()
        self._told: dict[tuple[str, str, str, str, str], _Told] = {}

    def note(
        self, store: Storage, identity: Identity | None, action: str, outcome: str, address: str, object_: str = ""
    ) -> None:
        """Tell a refusal; one that cannot be written is logged, and the request goes its way."""
        actor = STRANGER if identity is None else identity.label
        key = (actor, action, object_, outcome, network_of(address))
        with self._lock:
            if time.monotonic() - self._since > WINDOW_SECONDS:
                self._told.clear()
                self._since = time.monotonic()
            if key not in self._told and len(self._told) >= MOST_LINES:
                key = (SEVERAL, action, "", outcome, SEVERAL)
            told = self._told.setdefault(key, _Told())
            told.times += 1
            first, times, entry = told.times == 1, told.times, told.entry
        if not first and (entry is None or times & (times - 1)):
            return
        try:
            if entry is not None:
                count_entry(store, entry, times)
                return
            told.entry = begin_entry(
                store,
                actor=key[0],
                scope=None if identity is None or key[0] == SEVERAL else identity.scope,
                action=action,
                object_=key[2],
                address=SEVERAL if key[4] == SEVERAL else address,
                outcome=outcome,
                days=self._settings.audit_days,
                most=self._settings.audit_entries,
            )
        except DatabaseUnavailable as error:
            log.warning("a refusal (%s, %s) is not in the audit trail: %s", action, outcome, error.message)
