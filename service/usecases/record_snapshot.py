"""A training in the middle was stored: the next attempt may go on from there."""

from uuid import UUID

from service.domain.errors import InvalidArtifact, LeaseLost
from service.domain.states import AttemptOutcome, TaskState
from service.storage import Storage, artifacts, snapshots, tasks


def record_snapshot(store: Storage, task: UUID, attempt: int, sha256: str, fraction: float) -> str | None:
    """Make an uploaded snapshot the task's newest; the digest of the one that nobody needs any more, if there is one.

    ``fraction`` of the training is done in it. A repetition changes nothing.

    Raises:
        LeaseLost: the attempt was superseded, or its task has ended.
        InvalidArtifact: the snapshot has not been uploaded.
        NotFound: there is no such task.
    """
    with store.transaction() as tx:
        row = tasks.get(tx, task, lock=True)
        told = tasks.attempt(tx, task, attempt)
        if told is None or row.attempt != attempt:
            raise LeaseLost
        # As with heartbeats, an attempt that is late may still bring something while nobody else has the task.
        late = row.state is TaskState.READY and told.outcome is AttemptOutcome.LOST
        if row.state is not TaskState.LEASED and not late:
            raise LeaseLost
        if artifacts.size(tx, sha256) is None:
            raise InvalidArtifact(f"snapshot {sha256} has not been uploaded")
        superseded = snapshots.put(tx, task, attempt, sha256, fraction)
        snapshots.advance(tx, task, attempt, fraction)
    return superseded
