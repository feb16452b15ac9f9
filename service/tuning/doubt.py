"""A COMMIT whose answer was lost is in doubt: it may have been done, so nothing may do it once more unseen."""

from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext

from service.domain.errors import DatabaseUnavailable


def never_repeat_in_doubt(storage: RDBStorage) -> None:
    """Make a lost connection raise DatabaseUnavailable, in place of Optuna's own repetition.

    Optuna creates a trial up to five times when the database fails it. If a COMMIT arrived and its answer did not,
    the repetition is a second picture of the same trial, and a finished one can never be taken away again. Whoever
    asked looks first at what is there.
    """

    def lost(context: ExceptionContext) -> None:
        if context.is_disconnect and not context.is_pre_ping:
            lines = str(context.original_exception).strip().splitlines() or ["the connection was lost"]
            raise DatabaseUnavailable(f"Optuna's tables cannot be reached: {lines[0]}")

    event.listen(storage.engine, "handle_error", lost)
