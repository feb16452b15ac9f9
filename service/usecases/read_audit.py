"""Reading the audit trail."""

from service.domain.access import AuditPage
from service.storage import Storage, audit


def read_audit(store: Storage, limit: int = 50, cursor: str | None = None) -> AuditPage:
    """Newest first, from before ``cursor``, the number of an entry."""
    before = None if cursor is None else int(cursor)
    with store.reading() as tx:
        # One more than asked for tells whether there is another page.
        found = audit.page(tx, limit + 1, before)
    items = tuple(found[:limit])
    return AuditPage(items, str(items[-1].id) if len(found) > limit else None)
