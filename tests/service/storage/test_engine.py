"""Transactions, locks and what becomes of a database that does not answer."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from service.domain.errors import DatabaseUnavailable
from service.storage import Storage, events
from service.storage.engine import database_url as with_driver
from tests.service.lab import Lab


@pytest.mark.parametrize("given", ["postgresql://u@h/d", "postgres://u@h/d", "postgresql+psycopg://u@h/d"])
def test_every_url_names_the_driver(given: str) -> None:
    assert with_driver(given).drivername == "postgresql+psycopg2"


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(ValueError, match="must be PostgreSQL"):
        with_driver("sqlite:///x.db")


def test_an_exception_rolls_everything_back(lab: Lab) -> None:
    def fail() -> None:
        with lab.store.transaction() as tx:
            tx.execute("INSERT INTO artifact (sha256, size) VALUES (repeat('a', 64), 1)")
            tx.announce(experiment, "never")
            raise RuntimeError

    experiment = lab.submit()
    with pytest.raises(RuntimeError):
        fail()
    assert lab.value("SELECT count(*) FROM artifact") == 0
    assert lab.value("SELECT count(*) FROM event WHERE kind = 'never'") == 0


def test_reading_cannot_write(store: Storage) -> None:
    with pytest.raises(DBAPIError), store.reading() as tx:
        tx.execute("INSERT INTO artifact (sha256, size) VALUES (repeat('a', 64), 1)")
    # The connection goes back into the pool as it was.
    with store.transaction() as tx:
        tx.execute("INSERT INTO artifact (sha256, size) VALUES (repeat('a', 64), 1)")


def test_a_database_that_is_not_there_is_unavailable() -> None:
    nowhere = Storage.connect("postgresql://nobody:secret@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable) as caught, nowhere.transaction():
        pass
    assert "secret" not in caught.value.message


def test_a_connection_cut_in_the_middle_is_unavailable_and_the_next_one_works(store: Storage) -> None:
    def cut() -> None:
        with store.transaction() as tx:
            pid = tx.execute("SELECT pg_backend_pid()").scalar_one()
            with store.transaction() as other:
                other.execute("SELECT pg_terminate_backend(:pid)", {"pid": pid})
            tx.execute("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        cut()
    with store.transaction() as tx:
        assert tx.execute("SELECT 1").scalar_one() == 1


@pytest.mark.parametrize("block", ["transaction", "reading", "exclusive", "not alone"])
def test_a_connection_that_dies_before_it_is_given_back_takes_no_place_in_the_pool(
    database_url: str, block: str
) -> None:
    store, beside = Storage.connect(database_url, pool_size=1), Storage.connect(database_url, pool_size=2)
    blocks: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "transaction": store.transaction,
        "reading": store.reading,
        "exclusive": lambda: store.exclusive("free"),
        "not alone": lambda: store.exclusive("taken"),
    }
    with beside.exclusive("taken"), beside.transaction() as tx:
        # What a connection has been used for before decides what is said to the server when it is given back.
        with store.reading() as reading:
            pid = reading.execute("SELECT pg_backend_pid()").scalar_one()
        with suppress(DatabaseUnavailable), blocks[block]():
            assert tx.execute("SELECT pg_terminate_backend(:pid, 10000)", {"pid": pid}).scalar_one()
    with store.transaction():
        pass
    store.close()
    beside.close()


@pytest.mark.parametrize(("fresh", "lost"), [(3600.0, 1), (0.0, 0)])
def test_connections_are_asked_whether_they_live_unless_they_just_did(
    database_url: str, monkeypatch: pytest.MonkeyPatch, fresh: float, lost: int
) -> None:
    monkeypatch.setattr("service.storage.liveness.FRESH_SECONDS", fresh)
    store, beside = Storage.connect(database_url, pool_size=3), Storage.connect(database_url, pool_size=1)
    with ExitStack() as opened:
        pids = [
            opened.enter_context(store.transaction()).execute("SELECT pg_backend_pid()").scalar_one() for _ in range(3)
        ]
    with beside.transaction() as tx:
        for pid in pids:
            tx.execute("SELECT pg_terminate_backend(:pid, 10000)", {"pid": pid})

    failures = 0
    for _ in range(6):
        try:
            with store.transaction() as tx:
                tx.execute("SELECT 1")
        except DatabaseUnavailable:
            failures += 1

    assert failures == lost, "one finds out for all that are as old"
    store.close()
    beside.close()


def test_a_full_pool_is_unavailable_rather_than_for_ever(database_url: str) -> None:
    small = Storage.connect(database_url, pool_size=1)
    small.engine.pool._timeout = 0.01  # type: ignore[attr-defined] # nobody wants to wait for ten seconds here
    with small.transaction(), pytest.raises(DatabaseUnavailable, match="in use"), small.transaction():
        pass
    small.close()


def test_one_holder_of_an_exclusive_lock(store: Storage) -> None:
    with store.exclusive("work") as first, store.exclusive("work") as second, store.exclusive("other") as other:
        assert (first, second, other) == (True, False, True)
    with store.exclusive("work") as again:
        assert again


def test_events_appear_in_the_order_of_their_ids(lab: Lab) -> None:
    """A reader that follows ids misses nothing, although transactions overlap."""
    experiment = lab.submit()
    seen: list[int] = []
    done = threading.Event()

    def write(number: int) -> None:
        for step in range(10):
            with lab.store.transaction() as tx:
                tx.announce(experiment, "step", number=number, step=step)

    def look() -> None:
        with lab.store.reading() as tx:
            seen.extend(event.id for event in events.after(tx, experiment, seen[-1] if seen else 0, 100))

    def follow() -> None:
        while not done.is_set():
            look()

    reader = threading.Thread(target=follow)
    reader.start()
    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    look()

    assert len(seen) == len(set(seen)) == 61


def test_the_database_refuses_what_must_never_happen(lab: Lab) -> None:
    lab.submit()
    lab.worker()
    lab.plan()
    forbidden = {
        "ck_search_state": "UPDATE search SET state = 'lost'",
        "ck_search_incumbent": "UPDATE search SET state = 'decided'",
        "ck_task_lease": "UPDATE task SET state = 'leased'",
        "ck_trial_told": "UPDATE trial SET state = 'complete', finished_at = now()",
        "ck_trial_value": "UPDATE trial SET value = 1.5, state = 'pruned', finished_at = now()",
        "ck_experiment_finished": "UPDATE experiment SET state = 'finished'",
        "uq_trial_search_id_ordinal": "UPDATE trial SET ordinal = 0",
        "uq_search_key": "INSERT INTO search (id, key, name, state, spec, planned, budget, dataset_digest)"
        " SELECT gen_random_uuid(), key, name, state, spec, planned, budget, dataset_digest FROM search",
    }
    for name, statement in forbidden.items():
        with pytest.raises(IntegrityError, match=name):
            lab.run(statement)
