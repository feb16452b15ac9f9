"""The background threads: they work when woken, survive failures and stop."""

import threading
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from service.artifacts import open_store
from service.background import Background, Loop, plans_rest, shows_rest
from service.domain.errors import DatabaseUnavailable
from service.domain.projection import ProjectedStudy
from service.domain.states import ExperimentState
from service.settings import Settings
from service.tuning.projection import StudyProjection, optuna_url
from service.tuning.suggest import suggest as draw
from service.usecases.check_readiness import check_readiness
from service.usecases.look_up import get_experiment
from tests.service.lab import Lab, suggest

SOON = 20.0


class Screen:
    """Remembers the studies it was shown."""

    def __init__(self) -> None:
        self.studies: list[ProjectedStudy] = []

    def sync(self, _: str, read: Callable[[], ProjectedStudy]) -> ProjectedStudy:
        self.studies.append(read())
        return self.studies[-1]

    def drop(self, name: str) -> None:
        self.studies = [study for study in self.studies if study.name != name]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, planner_seconds=0.05, reaper_seconds=0.1)


def counting(failures: list[Exception], enough: int) -> tuple[Callable[[], None], threading.Event]:
    """Work that fails with each of ``failures`` first, and an event for ``enough`` calls."""
    calls, reached = 0, threading.Event()

    def work() -> None:
        nonlocal calls
        calls += 1
        if calls >= enough:
            reached.set()
        if failures:
            raise failures.pop(0)

    return work, reached


def test_a_wake_is_answered_long_before_the_next_turn() -> None:
    work, reached = counting([], 2)
    loop = Loop("test", work, seconds=3600)
    loop.start()
    loop.wake()
    assert reached.wait(SOON)
    loop.stop()
    loop.join(SOON)
    assert not loop.alive


def test_failures_are_survived(caplog: pytest.LogCaptureFixture) -> None:
    work, reached = counting([DatabaseUnavailable("gone"), ValueError("odd")], 3)
    loop = Loop("test", work, seconds=0.001)
    loop.start()
    assert reached.wait(SOON)
    loop.stop()
    loop.join(SOON)
    assert [record.levelname for record in caplog.records][:2] == ["WARNING", "ERROR"]


def test_a_loop_rests_after_each_call_by_how_long_it_took() -> None:
    work, reached = counting([], 3)
    rested: list[float] = []

    def rests(took: float) -> float:
        rested.append(took)
        loop.wake()
        return 0.0

    loop = Loop("test", work, seconds=3600, rests=rests)
    loop.start()
    assert reached.wait(SOON)
    loop.stop()
    loop.join(SOON)
    assert len(rested) >= 2
    assert min(rested) >= 0


def test_a_stop_ends_a_long_rest() -> None:
    resting = threading.Event()

    def rests(_: float) -> float:
        resting.set()
        return 3600.0

    loop = Loop("test", lambda: None, seconds=3600, rests=rests)
    loop.start()
    assert resting.wait(SOON)
    loop.stop()
    loop.join(SOON)
    assert not loop.alive


def test_rests_are_short_where_workers_wait_and_bounded_elsewhere() -> None:
    assert plans_rest(0.001) < plans_rest(10.0) <= 0.1
    assert shows_rest(1.0) == 9.0
    assert shows_rest(7200.0) == 30.0, "a machine that was asleep in a pass"


def test_a_study_that_cannot_be_deleted_keeps_none_from_being_shown(lab: Lab, settings: Settings) -> None:
    class Broken(Screen):
        def drop(self, name: str) -> None:
            raise ValueError(name)

    screen = Broken()
    background = Background(lab.store, suggest, screen, open_store(None, settings.home, 2**20), settings)
    lab.run("INSERT INTO purged_study (name) VALUES ('gone')")
    lab.submit()
    lab.worker()
    background.plan()
    background.project()
    assert len(screen.studies) == 1
    assert lab.value("SELECT count(*) FROM purged_study") == 1, "it is tried again"


def test_a_loop_that_never_started_can_be_stopped() -> None:
    loop = Loop("test", lambda: None, seconds=1)
    loop.stop()
    loop.join(SOON)


def test_the_threads_carry_an_experiment_to_its_end(lab: Lab, settings: Settings) -> None:
    tasks_may_be_there = threading.Event()
    screen = Screen()
    background = Background(
        lab.store, suggest, screen, open_store(None, settings.home, 2**20), settings, tasks_may_be_there.set
    )
    other_server = Background(lab.store, suggest, screen, open_store(None, settings.home, 2**20), settings)
    experiment, worker = lab.submit(), lab.worker()
    background.start()
    other_server.start()
    try:
        for _ in range(500):
            tasks_may_be_there.wait(SOON)
            tasks_may_be_there.clear()
            lease = lab.lease(worker)
            if lease is not None:
                lab.finish(lease)
                background.wake()
            if lab.state(experiment) is ExperimentState.FINISHED:
                break
    finally:
        background.stop()
        other_server.stop()

    assert lab.state(experiment) is ExperimentState.FINISHED
    assert lab.value("SELECT count(*) FROM result") == 4
    background.project()
    assert {trial.state for trial in screen.studies[-1].trials} == {"complete"}
    assert lab.value("SELECT count(*) FROM trial WHERE projected IS DISTINCT FROM state") == 0


def test_a_second_server_does_nothing_while_the_first_works(lab: Lab, settings: Settings) -> None:
    screen = Screen()
    background = Background(lab.store, suggest, screen, open_store(None, settings.home, 2**20), settings)
    lab.submit()
    lab.worker()
    with lab.store.exclusive("planner"), lab.store.exclusive("projector"):
        background.plan()
        background.project()
        assert lab.value("SELECT count(*) FROM trial") == 0
        assert screen.studies == []
    background.plan()
    background.project()
    assert lab.value("SELECT count(*) FROM trial") > 0
    assert len(screen.studies) == 1


def test_a_step_that_fails_keeps_no_other_from_its_work_and_is_told(lab: Lab, settings: Settings) -> None:
    screen = Screen()
    background = Background(lab.store, suggest, screen, open_store(None, settings.home, 2**20), settings)
    lab.submit(phases=[{"epochs": 1, "trials": 2}])
    lab.submit(phases=[{"epochs": 3, "trials": 2}])
    lab.worker()
    background.plan()
    lab.run("UPDATE search SET spec = '{}' WHERE id = (SELECT id FROM search LIMIT 1)")
    lab.run("UPDATE search SET projected = false")

    with pytest.raises(Exception, match="required"):
        background.plan()
    background.project()

    assert len(screen.studies) == 1, "the one that is sound"


def test_readiness_tells_of_a_planner_that_no_longer_gets_on(lab: Lab, settings: Settings) -> None:
    background = Background(lab.store, suggest, Screen(), open_store(None, settings.home, 2**20), settings)
    background.plan()
    background.reap()
    assert set(check_readiness(lab.store, settings.reaper_seconds).values()) == {"ok"}

    lab.run("UPDATE server_heartbeat SET beat_at = now() - interval '1 hour' WHERE name = 'planner'")

    checks = check_readiness(lab.store, settings.reaper_seconds)
    assert (checks["planner"], checks["reaper"]) == ("silent for 3600 s", "ok")


def test_a_study_that_cannot_be_shown_does_not_keep_others_from_it(lab: Lab, settings: Settings) -> None:
    class Broken(Screen):
        def sync(self, name: str, read: Callable[[], ProjectedStudy]) -> ProjectedStudy:
            if not self.studies:
                self.studies.append(read())
                raise ValueError("odd")
            return super().sync(name, read)

    screen = Broken()
    background = Background(lab.store, suggest, screen, open_store(None, settings.home, 2**20), settings)
    lab.submit(phases=[{"epochs": 1, "trials": 2}])
    lab.submit(phases=[{"epochs": 3, "trials": 2}])
    lab.worker(slots=4)
    background.plan()
    background.project()
    background.project()
    assert len({study.name for study in screen.studies}) == 2
    assert lab.value("SELECT count(*) FROM trial WHERE projected IS DISTINCT FROM state") == 0


def test_optuna_finds_every_study_as_our_rows_have_it(lab: Lab, settings: Settings, database_url: str) -> None:
    """With the real sampler and the real projection, through pruned and diverged trials."""
    projection = StudyProjection(database_url)
    background = Background(lab.store, draw, projection, open_store(None, settings.home, 2**20), settings)
    experiment, worker = lab.submit(phases=[{"epochs": 1, "trials": 9}], search={"sampler": "tpe"}), lab.worker()
    outcomes = iter(["complete", "pruned", "diverged"] * 3)
    while lab.state(experiment) is ExperimentState.RUNNING:
        background.plan()
        lease = lab.lease(worker)
        if lease is not None:
            lab.finish(lease, outcome=next(outcomes, "complete"))
        background.project()
    projection.close()

    (search,) = get_experiment(lab.store, experiment).stage_searches
    study = optuna.load_study(study_name=search.name, storage=optuna_url(database_url))

    ours = lab.rows("SELECT upper(state), value, learning_rate FROM trial ORDER BY ordinal")
    shown = sorted(study.trials, key=lambda trial: trial.number)
    assert [(trial.state.name, trial.value) for trial in shown] == [(row[0], row[1]) for row in ours]
    assert [trial.params["learning_rate"] for trial in shown] == pytest.approx([row[2] for row in ours])
    assert search.best_accuracy is not None
    assert study.best_value == search.best_accuracy
