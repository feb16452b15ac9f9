"""What must not be done twice. A COMMIT whose answer was lost is in doubt: it may have been done, so nothing may do it
once more unseen. And who has lost a lock is not to go on as if nothing had been.
"""

from collections.abc import Callable

from optuna.storages import RDBStorage
from psycopg2.errors import ReadOnlySqlTransaction
from sqlalchemy import Connection, event
from sqlalchemy.engine import ExceptionContext

from service.domain.errors import DatabaseUnavailable


def never_repeat_in_doubt(storage: RDBStorage) -> None:
    """Make a lost connection raise DatabaseUnavailable, in place of Optuna's own repetition.

    Optuna creates a trial up to five times when the database fails it. If a COMMIT arrived and its answer did not,
    the repetition is a second picture of the same trial, and a finished one can never be taken away again. Whoever
    asked looks first at what is there.
    """

    def lost(context: ExceptionContext) -> None:
        if isinstance(context.original_exception, ReadOnlySqlTransaction):
            # As for our own tables: the pool's connections are replaced.
            context.is_disconnect = True
        if context.is_disconnect and not context.is_pre_ping:
            raise unreachable(context.original_exception)

    event.listen(storage.engine, "handle_error", lost)


def check_before_new_trials(storage: RDBStorage, check: Callable[[], None]) -> None:
    """Call ``check`` in each transaction that creates a trial, once it has locked the study; what it raises ends it."""

    def about_to_execute(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO trials "):
            check()

    event.listen(storage.engine, "before_cursor_execute", about_to_execute)


def unreachable(cause: BaseException) -> DatabaseUnavailable:
    """What to raise when the database does not answer Optuna, with the first line of why."""
    return DatabaseUnavailable(f"Optuna's tables cannot be reached: {first_line(cause)}")


def first_line(cause: BaseException) -> str:
    """Of what an error says, or its name if it says nothing."""
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
