"""The way into PostgreSQL: one engine, and transactions as the only place that commits."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from json import dumps
from typing import Any, Self
from uuid import UUID

from psycopg2 import Error as Psycopg2Error
from psycopg2.errors import ReadOnlySqlTransaction
from sqlalchemy import Connection, CursorResult, Engine, Executable, TextClause, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.domain.errors import DatabaseUnavailable
from service.postgres import silence
from service.storage.liveness import ping_idle

SCHEMA = "stagetune"
# A statement of ours takes milliseconds. These bounds turn a stuck lock or a forgotten transaction into an error that
# is tried again, instead of a server that hangs with all of its connections taken.
SESSION = {
    "search_path": SCHEMA,
    "timezone": "UTC",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    **silence.THEIRS,
}
CONNECTION = {"application_name": "stagetune", "connect_timeout": 5, **silence.OURS}
APPEND_EVENTS = text(
    "INSERT INTO event (experiment_id, kind, data)"
    " SELECT * FROM unnest(CAST(:experiments AS uuid[]), CAST(:kinds AS text[]), CAST(:data AS jsonb[]))"
)


def database_url(url: str | URL) -> URL:
    """The URL with psycopg2 named: SQLAlchemy 2.1 takes another driver for a bare postgresql://."""
    parsed = make_url(url)
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ValueError(f"the database must be PostgreSQL, not {parsed.get_backend_name()}")
    return parsed.set(drivername="postgresql+psycopg2")


@dataclass(frozen=True, slots=True)
class Transaction:
    """An open transaction. Repositories run statements on it; only ``Storage`` ends it."""

    connection: Connection
    events: list[tuple[UUID, str, dict[str, object]]] = field(default_factory=list)

    def execute(
        self, statement: Executable | str, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> CursorResult[Any]:
        """Run a statement; plain SQL may be given as a string."""
        return self.connection.execute(_parsed(statement) if isinstance(statement, str) else statement, parameters)

    def now(self) -> datetime:
        """The database's time at the start of the transaction; no other clock counts for leases."""
        moment: datetime = self.connection.execute(text("SELECT now()")).scalar_one()
        return moment

    def announce(self, experiment: UUID, kind: str, **data: object) -> None:
        """Add a line to an experiment's history, written when the transaction commits."""
        self.events.append((experiment, kind, data))


@dataclass(frozen=True, slots=True)
class Storage:
    """The database as use cases see it."""

    engine: Engine
    opened: set[DBAPIConnection] = field(default_factory=set, compare=False)

    @classmethod
    def connect(cls, url: str | URL, *, pool_size: int = 16) -> Self:
        """An engine for the database; no connection is opened yet.

        The pool never overflows: threads beyond it wait, and PostgreSQL sees at most ``pool_size`` connections.
        """
        parsed = database_url(url)
        given = parsed.query.get("options", "")
        options = " ".join(
            [*([given] if isinstance(given, str) and given else []), *(f"-c {k}={v}" for k, v in SESSION.items())]
        )
        engine = create_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            # What was used last is warm, at PostgreSQL's end as well.
            pool_use_lifo=True,
            connect_args={**CONNECTION, "options": options},
        )
        ping_idle(engine)
        event.listen(engine, "handle_error", _give_up_read_only)
        store = cls(engine)
        event.listen(engine, "connect", lambda connection, _: store.opened.add(connection))
        event.listen(engine, "close", lambda connection, _: store.opened.discard(connection))
        return store

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit at the end of the block, roll back on any exception.

        Raises:
            DatabaseUnavailable: PostgreSQL cannot be reached or takes no writes, or a statement ran into one of its
                time limits.
        """
        with translated(), self.engine.connect() as connection:
            _isolate(connection, "DEFAULT", readonly="DEFAULT")
            transaction = Transaction(connection)
            yield transaction
            _append(transaction)
            connection.commit()

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A read-only transaction in which all statements see the same rows."""
        with translated(), self.engine.connect() as connection:
            _isolate(connection, "REPEATABLE READ", readonly=True)
            yield Transaction(connection)

    @contextmanager
    def exclusive(self, name: str) -> Iterator[bool]:
        """Whether this block alone holds the lock ``name``, among all servers on the database.

        The lock belongs to a connection of its own without an open transaction, so that slow work may happen under it.
        """
        with translated(), self.engine.connect() as connection:
            _isolate(connection, "DEFAULT", readonly="DEFAULT")
            key = {"name": f"{SCHEMA}:{name}"}
            held = bool(
                connection.execute(text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"), key).scalar_one()
            )
            connection.commit()
            try:
                yield held
            finally:
                if held and not connection.invalidated:
                    connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), key)
                    connection.commit()

    def close(self) -> None:
        """Close the pool's idle connections."""
        self.engine.dispose()

    def hang_up(self) -> None:
        """End every connection at once and open no more: whoever waits for an answer has DatabaseUnavailable.

        For a server that is to end, which a thread in a long statement would hold up. To PostgreSQL it is as if the
        server had been killed.
        """
        event.listen(self.engine, "do_connect", _refuse)
        for connection in list(self.opened):
            # Only the socket, whatever its family: closing the connection would wait for the thread that uses it.
            with (
                suppress(OSError, Psycopg2Error),
                socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as line,
            ):
                line.shutdown(socket.SHUT_RDWR)
        self.close()


@lru_cache(maxsize=1024)
def _parsed(statement: str) -> TextClause:
    return text(statement)


def _isolate(connection: Connection, level: str, *, readonly: bool | str) -> None:
    """Begin the next transaction so; psycopg2 writes it into its BEGIN, which costs no statement more.

    Every way in says what it needs, and none takes it back. SQLAlchemy's execution options would be taken back while
    the connection is given back to the pool, which loses the place for good if the server has gone by then (seen in
    SQLAlchemy 2.1.9, ``_ConnectionRecord.checkin``).
    """
    driver = connection.connection.driver_connection
    # One that is closed says so at its first statement, as an error that is translated.
    if driver is not None and not driver.closed:
        driver.set_session(isolation_level=level, readonly=readonly)


def _give_up_read_only(context: ExceptionContext) -> None:
    """A server that takes no writes, such as one that a failover has left behind, is no better than one that is gone.

    All connections that are as old go with this one: the address may lead to another server by now.
    """
    if isinstance(context.original_exception, ReadOnlySqlTransaction) and context.connection is not None:
        driver = context.connection.connection.driver_connection
        # A transaction of ours that said it would only read, and writes, is a mistake of ours.
        context.is_disconnect = driver is not None and not driver.readonly


def _append(transaction: Transaction) -> None:
    """Write announced events last of all, one committing transaction at a time.

    Readers follow ``id > last``. Without the lock a transaction could take a lower id and commit later than another,
    and its events would never be seen; taken last, the lock is held for a commit only and cannot deadlock with rows.
    """
    if not transaction.events:
        return
    transaction.execute("SELECT pg_advisory_xact_lock(hashtextextended('stagetune:events', 0))")
    experiments, kinds, data = zip(*transaction.events, strict=True)
    transaction.execute(
        APPEND_EVENTS,
        {
            "experiments": [str(e) for e in experiments],
            "kinds": list(kinds),
            "data": [dumps(d, default=str) for d in data],
        },
    )


def _refuse(*_: object) -> None:
    raise DatabaseUnavailable("the server is stopping")


@contextmanager
def translated() -> Iterator[None]:
    """Raise DatabaseUnavailable for what says of the database, and not of the statement, that it cannot be used."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable("all database connections are in use") from error
    except (OperationalError, InterfaceError) as error:
        raise DatabaseUnavailable(_first_line(error)) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable(_first_line(error)) from error
        raise


def _first_line(error: DBAPIError) -> str:
    # psycopg2's message never carries the password; the statement and its parameters, which SQLAlchemy adds, stay out.
    return (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
