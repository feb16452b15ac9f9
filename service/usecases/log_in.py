"""Logging in to the page: a one-time code from the command line becomes a session in the browser."""

import secrets

from service.domain.access import LoginCode, fingerprint
from service.domain.errors import Unauthenticated
from service.storage import Storage, access

CODE_MINUTES = 5


def issue_login_code(store: Storage) -> LoginCode:
    """A code that opens one session within five minutes."""
    code = secrets.token_urlsafe(24)
    with store.transaction() as transaction:
        return LoginCode(code, access.add_login_code(transaction, fingerprint(code), CODE_MINUTES))


def log_in(store: Storage, code: str, hours: float) -> str:
    """Spend a code for a session's secret. Raises Unauthenticated if it is unknown, used or expired."""
    secret = secrets.token_urlsafe(32)
    with store.transaction() as transaction:
        if not access.use_login_code(transaction, fingerprint(code)):
            raise Unauthenticated(
                "this code is unknown, used already or older than five minutes: `stagetune open` makes another"
            )
        access.add_session(transaction, fingerprint(secret), hours)
    return secret


def log_out(store: Storage, secret: str) -> None:
    """End a session; ending it twice changes nothing."""
    with store.transaction() as transaction:
        access.end_session(transaction, fingerprint(secret))
