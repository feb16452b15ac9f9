"""Who is behind a secret."""

from service.domain.access import Identity, Scope, fingerprint
from service.storage import Storage, access

# A secret of ours is shorter; hashing megabytes for a stranger is work for nothing.
_LONGEST = 512


def authenticate_token(store: Storage, secret: str) -> Identity | None:
    """The holder of a valid token, or None."""
    if len(secret) > _LONGEST:
        return None
    hashed = fingerprint(secret)
    with store.transaction() as transaction:
        identity = access.token_identity(transaction, hashed)
        if identity is not None:
            access.note_use(transaction, hashed)
    return identity


def authenticate_session(store: Storage, secret: str) -> Identity | None:
    """The person at the page, or None. It may submit and control, but never issue tokens."""
    if len(secret) > _LONGEST:
        return None
    with store.reading() as transaction:
        valid = access.has_session(transaction, fingerprint(secret))
    return Identity("page", Scope.SUBMIT) if valid else None
