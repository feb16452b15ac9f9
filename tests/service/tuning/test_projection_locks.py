"""Of several servers one draws a study, whatever becomes of its lock."""

import threading
import time
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState as OptunaState

from service.domain.errors import DatabaseUnavailable
from service.domain.projection import ProjectedStudy
from service.domain.states import TrialState
from service.tuning.projection import StudyProjection
from tests.service.tuning.drawing import draw, in_optuna, study, trial


def test_a_server_that_has_lost_its_lock_draws_no_further_trial(
    database_url: str, projection: StudyProjection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart of PostgreSQL takes the lock, and the pool's next connection is as good as the one before."""
    rows = study(*(trial(ordinal, TrialState.COMPLETE, 0.5) for ordinal in range(4)))
    other = StudyProjection(database_url)
    create, created = RDBStorage.create_new_trial, list[int]()

    def lose_the_lock(storage: RDBStorage, study_id: int, template: Any) -> int:
        created.append(create(storage, study_id, template))
        if len(created) == 2:
            held = "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            mine = "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            with closing(psycopg2.connect(database_url.replace("+psycopg2", ""))) as cut, cut.cursor() as cursor:
                cursor.execute(f"{held} {mine}")
                assert cursor.fetchall() == [(True,)]
            draw(other, rows)
        return created[-1]

    monkeypatch.setattr(RDBStorage, "create_new_trial", lose_the_lock)
    with pytest.raises(DatabaseUnavailable):
        draw(projection, rows)

    assert len(created) == 4
    assert [found.number for found in in_optuna(database_url).trials] == list(range(4))
    draw(projection, rows)
    assert len(in_optuna(database_url).trials) == 4
    assert projection.check(rows) == ()
    other.close()


def test_rows_are_read_when_nobody_else_draws_any_more(database_url: str, projection: StudyProjection) -> None:
    """Rows from before another server drew newer ones would make those running trials strays, and end them."""
    old, new = trial(0), trial(1)
    other = StudyProjection(database_url)
    drawing, rows = threading.Event(), [old]

    def slowly() -> ProjectedStudy:
        drawing.set()
        until_waited_for(database_url)
        rows.append(new)
        return study(*rows)

    def late() -> ProjectedStudy:
        return study(*rows)

    projection.prepare()
    name = study().name
    first = threading.Thread(target=projection.sync, args=(name, slowly))
    first.start()
    assert drawing.wait(60)
    other.sync(name, late)
    first.join()

    assert len(in_optuna(database_url).trials) == 2
    assert {found.state for found in in_optuna(database_url).trials} == {OptunaState.RUNNING}
    other.close()


def until_waited_for(database_url: str) -> None:
    """Until somebody waits for an advisory lock of this database."""
    waits = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = "
    mine = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    deadline = time.monotonic() + 60
    with closing(psycopg2.connect(database_url.replace("+psycopg2", ""))) as looking:
        looking.autocommit = True
        with looking.cursor() as cursor:
            cursor.execute(waits + mine)
            while cursor.fetchone() is None:
                assert time.monotonic() < deadline
                time.sleep(0.01)
                cursor.execute(waits + mine)
