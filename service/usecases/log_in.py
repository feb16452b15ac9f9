"""Logging in to the page: a one-time code from the command line becomes a session in the browser."""

import secrets
from uuid import UUID

from service.domain.access import LoginCode, fingerprint
from service.domain.errors import Unauthenticated
from service.storage import Storage, access

CODE_MINUTES = 5


def issue_login_code(store: Storage, token: UUID) -> LoginCode:
    """A code that opens one session within five minutes, which ends with the ``token`` that made it at the latest."""
    code = secrets.token_urlsafe(24)
    with store.transaction() as transaction:
        return LoginCode(code, access.add_login_code(transaction, fingerprint(code), CODE_MINUTES, token))


def log_in(store: Storage, code: str, hours: float) -> str:
    """Spend a code for a session's secret. Raises Unauthenticated if it, or the token behind it, is not valid."""
    secret = secrets.token_urlsafe(32)
    with store.transaction() as transaction:
        token = access.use_login_code(transaction, fingerprint(code))
        if token is None:
            raise Unauthenticated(
                "this code is unknown, used already or older than five minutes: `stagetune open` makes another"
            )
        access.add_session(transaction, fingerprint(secret), hours, token)
    return secret


def log_out(store: Storage, secret: str) -> bool:
    """End a session; False if there was none: ending it twice changes nothing."""
    with store.transaction() as transaction:
        return access.end_session(transaction, fingerprint(secret))
