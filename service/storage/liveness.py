"""Connections that have rested a while are asked whether they live before they are used."""

import time

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

# One that was used within this time is taken to be alive.
FRESH_SECONDS = 1.0
_USED = "stagetune.used"


def ping_idle(engine: Engine) -> None:
    """Ask connections that come out of the engine's pool whether they are alive, unless they just were.

    ``pool_pre_ping`` asks always, which is a quarter of what an ordinary request says to the database. A connection
    that dies meanwhile is an outage like any other, and all that are as old are replaced with it.
    """

    def given_back(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info[_USED] = time.monotonic()

    def taken(connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
        used = record.info.get(_USED)
        if used is None or time.monotonic() - used < FRESH_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", given_back)
    event.listen(engine, "checkout", taken)
