import dataclasses
import logging
import threading
from contextlib import closing
from datetime import timedelta
from typing import Any

import optuna
import psycopg2
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState as OptunaState
from sqlalchemy import Connection, event

from service.domain.errors import DatabaseUnavailable
from service.domain.space import EXPONENTIAL_SPACE, Point
from service.domain.states import TrialOrigin, TrialState
from service.tuning.projection import TRIAL_ATTR, StudyProjection, optuna_url
from tests.service.tuning.drawing import NOW, draw, finish, in_optuna, study, trial


def test_a_stranger_reads_the_study_with_optuna(database_url: str, projection: StudyProjection) -> None:
    shown = study(
        trial(0, TrialState.COMPLETE, 0.61, reports=((0, 0.4), (1, 0.61)), origin=TrialOrigin.INCUMBENT),
        trial(1, TrialState.PRUNED, 0.7, reports=((0, 0.7),)),
        trial(2, TrialState.FAILED),
        trial(3, TrialState.CANCELLED),
        trial(4, reports=((0, 0.3),)),
    )

    draw(projection, shown)

    loaded = in_optuna(database_url)
    assert loaded.direction is optuna.study.StudyDirection.MAXIMIZE
    assert loaded.user_attrs == {"stage": "Conv-3-32 Pool-2", "epochs": "1"}
    assert (loaded.best_value, loaded.best_trial.number) == (0.61, 0)
    assert loaded.best_params == {"learning_rate": 1e-3, "regularization": 1e-4}
    assert [found.state for found in loaded.trials] == [
        OptunaState.COMPLETE,
        OptunaState.PRUNED,
        OptunaState.FAIL,
        OptunaState.FAIL,
        OptunaState.RUNNING,
    ]
    assert [found.user_attrs[TRIAL_ATTR] for found in loaded.trials] == [row.id for row in shown.trials]
    assert loaded.trials[0].user_attrs["origin"] == "incumbent"
    assert loaded.trials[1].value == 0.7
    assert [found.intermediate_values for found in loaded.trials] == [{0: 0.4, 1: 0.61}, {0: 0.7}, {}, {}, {0: 0.3}]
    assert loaded.trials[0].datetime_start == NOW.astimezone().replace(tzinfo=None)
    assert loaded.trials[0].duration == timedelta(minutes=1)
    assert projection.check(shown) == ()


def test_a_stranger_may_go_on_with_the_study(database_url: str, projection: StudyProjection) -> None:
    draw(projection, study(*(trial(ordinal, TrialState.COMPLETE, 0.5 + ordinal / 100) for ordinal in range(4))))
    loaded = in_optuna(database_url)

    asked = loaded.ask(loaded.best_trial.distributions)
    loaded.tell(asked, 0.9)

    assert loaded.best_value == 0.9
    assert projection.check(study()) == ()  # theirs, not a stray of ours


def test_trials_move_from_running_to_their_end(database_url: str, projection: StudyProjection) -> None:
    rows = [trial(ordinal) for ordinal in range(4)]
    draw(projection, study(*rows))
    rows[0] = dataclasses.replace(rows[0], reports=((0, 0.2),))
    draw(projection, study(*rows))
    ended = study(
        finish(rows[0], TrialState.COMPLETE, 0.5, reports=((0, 0.2), (1, 0.5))),
        finish(rows[1], TrialState.PRUNED, 0.3, reports=((0, 0.3),)),
        finish(rows[2], TrialState.FAILED, None),
        finish(rows[3], TrialState.COMPLETE, 0.1, diverged=True),
    )

    draw(projection, ended)
    draw(projection, ended)

    assert projection.check(ended) == ()
    found = in_optuna(database_url).trials
    assert [(t.state.name, t.value) for t in found] == [
        ("COMPLETE", 0.5),
        ("PRUNED", 0.3),
        ("FAIL", None),
        ("COMPLETE", 0.1),
    ]
    assert found[0].intermediate_values == {0: 0.2, 1: 0.5}
    assert found[3].user_attrs["diverged"] is True


@pytest.mark.parametrize("at_once", [True, False])
def test_a_diverged_trial_is_never_the_best(database_url: str, projection: StudyProjection, at_once: bool) -> None:
    diverged, poor = trial(0), trial(1)
    if not at_once:
        draw(projection, study(diverged, poor))
    rows = finish(diverged, TrialState.COMPLETE, 0.1, diverged=True), finish(poor, TrialState.COMPLETE, 0.09)

    draw(projection, study(*rows))

    assert in_optuna(database_url).best_value == 0.09


def test_points_of_random_exponential_search_fit(database_url: str, projection: StudyProjection) -> None:
    draw(projection, study(trial(0, point=Point(3e4, 1e-9)), space=EXPONENTIAL_SPACE))

    assert in_optuna(database_url).trials[0].params == {"learning_rate": 3e4, "regularization": 1e-9}


def test_a_crash_between_creation_and_our_mark_is_healed(database_url: str, projection: StudyProjection) -> None:
    rows = study(trial(0, TrialState.COMPLETE, 0.5), trial(1))
    draw(projection, rows)
    projection.close()

    # A server that starts anew remembers nothing of it, and meanwhile a trial has ended.
    again = StudyProjection(database_url)
    ended = study(rows.trials[0], finish(rows.trials[1], TrialState.COMPLETE, 0.6), trial(2))
    draw(again, ended)

    assert again.check(ended) == ()
    assert len(in_optuna(database_url).trials) == 3
    again.close()


def test_a_commit_whose_answer_is_lost_is_not_repeated(database_url: str, projection: StudyProjection) -> None:
    first, doubtful, last = (trial(ordinal, TrialState.COMPLETE, 0.5 + ordinal / 10) for ordinal in range(3))
    draw(projection, study(first))
    rows = study(first, doubtful, last)

    def commit_and_lose_the_answer(connection: Connection) -> None:
        psycopg2_connection: Any = connection.connection.dbapi_connection
        with psycopg2_connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid(), EXISTS (SELECT FROM trials WHERE number = 1)")
            backend, there = cursor.fetchone() or (None, False)
            if there:
                cursor.execute("COMMIT")
                with closing(psycopg2.connect(database_url.replace("+psycopg2", ""))) as other, other.cursor() as cut:
                    cut.execute("SELECT pg_terminate_backend(%s, 5000)", (backend,))

    event.listen(projection.storage.engine, "commit", commit_and_lose_the_answer)
    with pytest.raises(DatabaseUnavailable, match=r"closed the connection|terminating connection"):
        draw(projection, rows)
    event.remove(projection.storage.engine, "commit", commit_and_lose_the_answer)
    assert len(in_optuna(database_url).trials) == 2

    draw(projection, rows)

    assert [found.value for found in in_optuna(database_url).trials] == [0.5, 0.6, 0.7]
    assert projection.check(rows) == ()


def test_a_crash_in_the_middle_of_an_update_is_healed(
    projection: StudyProjection, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = trial(0)
    draw(projection, study(running))
    ended = study(finish(running, TrialState.COMPLETE, 0.1, diverged=True, reports=((0, 0.1),)))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RDBStorage, "set_trial_state_values", crash)
        with pytest.raises(KeyboardInterrupt):
            draw(projection, ended)
    draw(projection, ended)

    assert projection.check(ended) == ()


def test_syncs_at_the_same_time_make_one_trial_each(database_url: str) -> None:
    rows = study(*(trial(ordinal, TrialState.COMPLETE, 0.5) for ordinal in range(6)))
    servers = [StudyProjection(database_url) for _ in range(2)]
    start, errors = threading.Barrier(4), list[BaseException]()

    def sync(server: StudyProjection) -> None:
        start.wait()
        try:
            draw(server, rows)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=sync, args=(server,)) for server in servers * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert servers[0].check(rows) == ()
    assert [found.number for found in in_optuna(database_url).trials] == list(range(6))
    for server in servers:
        server.close()


def test_a_running_trial_without_a_row_fails(database_url: str, projection: StudyProjection) -> None:
    gone, kept = trial(0), trial(1)
    draw(projection, study(gone, kept))
    assert projection.check(study(kept)) == ("study stage 2 of CNN 6: Optuna's trial 0 runs without a row of ours",)

    draw(projection, study(kept))

    assert [found.state for found in in_optuna(database_url).trials] == [OptunaState.FAIL, OptunaState.RUNNING]


def test_a_copy_of_our_trial_is_not_ours(database_url: str, projection: StudyProjection) -> None:
    row = trial(0)
    draw(projection, study(row))
    loaded = in_optuna(database_url)
    loaded.add_trial(loaded.trials[0])

    draw(projection, study(row))

    assert [found.state for found in in_optuna(database_url).trials] == [OptunaState.RUNNING, OptunaState.FAIL]
    assert projection.check(study(row)) == ()


def test_a_foreign_tell_is_logged_and_stays(
    database_url: str, projection: StudyProjection, caplog: pytest.LogCaptureFixture
) -> None:
    running, other = trial(0), trial(1)
    draw(projection, study(running, other))
    in_optuna(database_url).tell(0, 0.99)
    ended = study(finish(running, TrialState.COMPLETE, 0.5), finish(other, TrialState.COMPLETE, 0.6))

    with caplog.at_level(logging.WARNING):
        draw(projection, ended)

    assert "trial 0 has values [0.99] instead of [0.5]" in caplog.text
    assert projection.check(ended) == ("study stage 2 of CNN 6: trial 0 has values [0.99] instead of [0.5]",)


def test_a_tell_between_reading_and_writing_is_logged(
    database_url: str, projection: StudyProjection, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = trial(0)
    draw(projection, study(running))
    read = RDBStorage.get_all_trials

    def read_then_told(storage: RDBStorage, *args: object, **kwargs: object) -> object:
        trials = read(storage, *args, **kwargs)  # type: ignore[arg-type]
        monkeypatch.setattr(RDBStorage, "get_all_trials", read)
        in_optuna(database_url).tell(0, 0.99)
        return trials

    monkeypatch.setattr(RDBStorage, "get_all_trials", read_then_told)
    draw(projection, study(finish(running, TrialState.COMPLETE, 0.5)))

    assert "somebody else finished trial 0" in caplog.text


def test_what_is_missing_is_found_and_drawn_again(database_url: str, projection: StudyProjection) -> None:
    rows = study(trial(0, TrialState.COMPLETE, 0.5))
    assert projection.check(rows) == ("study stage 2 of CNN 6 is missing",)
    draw(projection, study())
    assert projection.check(rows) == ("study stage 2 of CNN 6: trial 0 is missing",)
    optuna.delete_study(study_name=rows.name, storage=optuna_url(database_url))

    draw(projection, rows)

    assert projection.check(rows) == ()


def test_study_attributes_follow_ours(database_url: str, projection: StudyProjection) -> None:
    draw(projection, study())
    draw(projection, study(user_attrs={"stage": "Conv-3-32 Pool-2", "epochs": "1", "experiments": "a, b"}))

    assert in_optuna(database_url).user_attrs["experiments"] == "a, b"


def test_optunas_tables_stay_out_of_our_schema(database_url: str, projection: StudyProjection) -> None:
    projection.prepare()
    projection.prepare()

    connection = psycopg2.connect(database_url.replace("+psycopg2", ""))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('studies', 'trials', 'version_info')"
        )
        assert cursor.fetchall() == [("optuna",)]
    connection.close()


def test_a_stuck_lock_in_optunas_tables_is_no_hang(projection: StudyProjection) -> None:
    names = ("lock_timeout", "statement_timeout", "search_path")
    shown = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    with projection.storage.engine.connect() as connection:
        assert tuple(connection.exec_driver_sql(shown).one()) == ("10s", "30s", "optuna")


def test_without_a_database_the_error_is_ours() -> None:
    with pytest.raises(DatabaseUnavailable):
        StudyProjection("postgresql://nobody@127.0.0.1:1/none").prepare()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://u:p@h:5/d", "postgresql+psycopg2://u:p@h:5/d?options=-csearch_path%3Doptuna"),
        ("postgres://u@/d?host=/tmp/s", "postgresql+psycopg2://u@/d?host=%2Ftmp%2Fs&options=-csearch_path%3Doptuna"),
        (
            "postgresql+psycopg2://u:{x}%2F@h/d?options=-cwork_mem%3D8MB",
            "postgresql+psycopg2://u:%7Bx%7D%2F@h/d?options=-cwork_mem%3D8MB%20-csearch_path%3Doptuna",
        ),
    ],
)
def test_the_address_for_optuna(given: str, expected: str) -> None:
    assert optuna_url(given) == expected


def test_tables_that_take_no_writes_are_away_and_no_refusal(database_url: str, projection: StudyProjection) -> None:
    running = trial(0)
    draw(projection, study(running))
    with closing(psycopg2.connect(database_url.replace("+psycopg2", "", 1))) as beside:
        beside.autocommit = True
        cursor = beside.cursor()
        cursor.execute("SELECT current_database()")
        name = cursor.fetchone()[0]  # type: ignore[index]
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        cursor.execute(f"SELECT pg_terminate_backend(pid, 10000) {others}")
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable):
                draw(projection, study(running, trial(1)))
            with pytest.raises(DatabaseUnavailable):
                projection.storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "another")
        cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    draw(projection, study(running, trial(1)))
