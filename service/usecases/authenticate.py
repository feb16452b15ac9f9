"""Who is behind a secret."""

from service.domain.access import Identity, Scope, fingerprint
from service.storage import Storage, access

# A secret of ours is shorter; hashing megabytes for a stranger is work for nothing.
_LONGEST = 512


def authenticate_token(store: Storage, secret: str) -> Identity | None:
    """The holder of a valid token, or None."""
    if len(secret) > _LONGEST:
        return None
    with store.transaction() as transaction:
        holder = access.token_holder(transaction, fingerprint(secret))
        if holder is None:
            return None
        if holder.stale and holder.identity.token is not None:
            access.note_use(transaction, holder.identity.token)
    return holder.identity


def authenticate_session(store: Storage, secret: str) -> Identity | None:
    """The person at the page, or None. It may submit and control, but never issue tokens."""
    if len(secret) > _LONGEST:
        return None
    hashed = fingerprint(secret)
    with store.reading() as transaction:
        valid = access.has_session(transaction, hashed)
    return Identity("page", Scope.SUBMIT, hashed[:16]) if valid else None
