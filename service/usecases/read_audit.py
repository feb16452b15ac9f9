"""Reading the audit trail."""

from service.domain.access import AuditPage
from service.domain.errors import InvalidRequest
from service.storage import Storage, audit

_LARGEST = 2**63 - 1


def read_audit(store: Storage, limit: int = 50, cursor: str | None = None) -> AuditPage:
    """Newest first. Raises InvalidRequest for a cursor that is not one of ours."""
    before = None if cursor is None else _position(cursor)
    with store.reading() as tx:
        # One more than asked for tells whether there is another page.
        found = audit.page(tx, limit + 1, before)
    items = tuple(found[:limit])
    return AuditPage(items, str(items[-1].id) if len(found) > limit else None)


def _position(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 20 and int(cursor) <= _LARGEST):
        raise InvalidRequest("cursor is not one that this list gave")
    return int(cursor)
