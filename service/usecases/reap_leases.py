"""Take back what silent workers hold."""

from service.domain.leasing import FailureReason
from service.storage import Storage, heartbeats, tasks
from service.usecases.end_attempt import end_attempt

BATCH = 100


def reap_leases(store: Storage, lease_seconds: float, max_strikes: int, outage_seconds: float) -> int:
    """Offer tasks whose leases ran out to others, and return how many.

    When the reaper itself was silent for more than ``outage_seconds``, the server was away and not the workers: every
    lease gets its full time again, and nothing is taken. A worker that had given up by then is lost without a strike.
    """
    with store.transaction() as tx:
        silent = heartbeats.beat(tx, heartbeats.REAPER)
        if silent is None or silent > outage_seconds:
            tasks.extend_all(tx, lease_seconds)
            heartbeats.grant_amnesty(tx, lease_seconds)
            return 0
        expired = tasks.expired(tx, BATCH)
        granted = heartbeats.amnesty_end(tx) if expired else None
        for item in expired:
            # The very moment: whoever claimed or renewed since has another one.
            reason = FailureReason.OUTAGE if item.expired_at == granted else FailureReason.LOST
            end_attempt(tx, item.task, reason, max_strikes)
    return len(expired)
