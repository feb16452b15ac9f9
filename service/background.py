"""The server's own work between requests: planner, projector, reaper and collector, each a thread.

Several servers may share a database: each pass runs under an advisory lock, so that only one of them does it.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from service.artifacts import ArtifactStore
from service.domain.errors import DatabaseUnavailable, StorageUnavailable
from service.domain.projection import ProjectedStudy
from service.domain.space import Suggest
from service.settings import Settings
from service.storage import Storage, experiments, heartbeats
from service.tuning.suggest import blind
from service.usecases.advance_experiment import advance_experiment
from service.usecases.collect_artifacts import collect_artifacts
from service.usecases.drop_studies import drop_studies
from service.usecases.project_studies import Setbacks, project_studies
from service.usecases.reap_leases import reap_leases
from service.usecases.suggest_trials import suggest_trials

logger = logging.getLogger(__name__)
LONGEST_BACKOFF_SECONDS = 5.0
LONGEST_REST_SECONDS = 30.0
# Between two beats of a planner that gets on.
BEAT_SECONDS = 1.0
JOIN_SECONDS = 10.0


def plans_rest(took: float) -> float:
    """A fleet wakes the planner many times a second; it need not read everything for every single result."""
    return min(9 * took, 0.1)


def shows_rest(took: float) -> float:
    """Showing reads all trials of a study: large ones are shown more seldom, instead of slowing everything down."""
    return min(9 * took, LONGEST_REST_SECONDS)


class Projection(Protocol):
    """Shows searches in Optuna's tables; repeating it changes nothing."""

    def sync(self, name: str, read: Callable[[], ProjectedStudy]) -> ProjectedStudy: ...

    def drop(self, name: str) -> object: ...


class Loop:
    """Calls ``work`` every ``seconds`` and at every wake, until stopped; a failure is logged and tried again.

    After a call it ``rests`` for as many seconds as that says of those which the call took, whoever wakes it.
    """

    def __init__(
        self, name: str, work: Callable[[], None], seconds: float, rests: Callable[[float], float] = lambda _: 0.0
    ) -> None:
        self._name, self._work, self._seconds, self._rests = name, work, seconds, rests
        self._woken, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Work soon. Safe from any thread; wakes during a pass make one more."""
        self._woken.set()

    def stop(self) -> None:
        """End after the pass that is under way."""
        self._stopping.set()
        self._woken.set()

    def join(self, seconds: float) -> None:
        """Wait for a loop that was stopped, but no longer than that."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while True:
            self._woken.clear()
            # In this order: whoever stops the loop wakes it after having said so.
            if self._stopping.is_set():
                return
            began = time.monotonic()
            try:
                self._work()
                failures = 0
            except (DatabaseUnavailable, StorageUnavailable) as error:
                failures += 1
                logger.warning("%s: %s", self._name, error.message)
            except Exception:
                failures += 1
                logger.exception("%s failed and will try again", self._name)
            rest = self._rests(time.monotonic() - began)
            if failures:
                # Wakes do not shorten this: requests arrive all the time, and the database may need its peace.
                self._stopping.wait(max(rest, min(self._seconds * 2.0**failures, LONGEST_BACKOFF_SECONDS)))
            else:
                self._stopping.wait(rest)
                self._woken.wait(self._seconds)


class Background:
    """Planner, projector, reaper and collector of one server."""

    def __init__(
        self,
        store: Storage,
        suggest: Suggest,
        projection: Projection,
        files: ArtifactStore,
        settings: Settings,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """``changed`` is called when there may be new tasks, to wake those who wait for one."""
        self._store, self._suggest, self._projection = store, suggest, projection
        self._files, self._settings, self._changed = files, settings, changed
        self._beaten = -BEAT_SECONDS
        self._setbacks = Setbacks()
        self._planner = Loop("planner", self.plan, settings.planner_seconds, plans_rest)
        self._reaper = Loop("reaper", self.reap, settings.reaper_seconds)
        self._collector = Loop("collector", self.collect, settings.collector_seconds)
        projector = Loop("projector", self.project, settings.planner_seconds, shows_rest)
        self._loops = (self._planner, projector, self._reaper, self._collector)

    def start(self) -> None:
        for loop in self._loops:
            loop.start()

    def wake(self) -> None:
        """A submission or a result has come: plan now."""
        self._planner.wake()

    def stop(self) -> None:
        for loop in self._loops:
            loop.stop()
        deadline = time.monotonic() + JOIN_SECONDS
        for loop in self._loops:
            loop.join(max(0.0, deadline - time.monotonic()))

    def plan(self) -> None:
        """One pass: move experiments on, ask ahead.

        A step that fails does not keep those after it from their work; its failure is raised in the end.
        """
        with self._store.exclusive("planner") as alone:
            if not alone:
                return
            failure: Exception | None = None
            for step in (self._advance, self._suggest_trials):
                try:
                    step()
                except DatabaseUnavailable:
                    raise
                except Exception as error:
                    if failure is not None:
                        logger.error("planner failed as well", exc_info=failure)
                    failure = error
            if failure is not None:
                raise failure
            self._beat()

    def _advance(self) -> None:
        with self._store.reading() as tx:
            running = experiments.running(tx)
        for experiment in running:
            try:
                advance_experiment(self._store, experiment)
            except DatabaseUnavailable:
                raise
            except Exception:
                # An experiment that cannot go on must not keep the others from it.
                logger.exception("experiment %s cannot be moved on", experiment)

    def _suggest_trials(self) -> None:
        def added() -> None:
            self._beat()
            self._changed()

        suggest_trials(self._store, self._suggest, blind, self._settings.lease_seconds, added)
        self._changed()

    def _beat(self) -> None:
        """Tell /readyz that the planner gets on: after every pass, and during those that take long."""
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            with self._store.transaction() as tx:
                heartbeats.beat(tx, heartbeats.PLANNER)
            self._beaten = time.monotonic()

    def project(self) -> None:
        """One pass over the studies in Optuna's tables: drop those of purged searches, show what has moved on."""
        with self._store.exclusive("projector") as alone:
            if alone:
                drop_studies(self._store, self._projection.drop)
                project_studies(self._store, self._projection.sync, self._setbacks)

    def reap(self) -> None:
        """One pass over the leases."""
        with self._store.exclusive("reaper") as alone:
            if not alone:
                return
            settings = self._settings
            # The shortest outage for which a lease may run out, in it or before the first beat after it, with a beat
            # to spare; late turns are none.
            outage = max(settings.lease_seconds - 3 * settings.heartbeat_seconds, 3 * settings.reaper_seconds)
            if reap_leases(self._store, settings.lease_seconds, settings.max_strikes, outage):
                self._planner.wake()
                self._changed()

    def collect(self) -> None:
        """One pass over the artifacts."""
        with self._store.exclusive("collector") as alone:
            if not alone:
                return
            gone = collect_artifacts(self._store, self._files, self._settings.artifact_grace_seconds)
            if gone.removed:
                logger.info("removed %d artifacts that nothing names, %d bytes", gone.removed, gone.removed_bytes)
