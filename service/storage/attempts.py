"""Attempts: how far the checkpoints of a task have got, and what became of attempts without a result."""

from uuid import UUID

from service.storage.engine import Transaction


def secure(tx: Transaction, task: UUID, n: int, fraction: float) -> None:
    """Note how much of a task the newest checkpoint of an attempt keeps; an older one takes nothing back."""
    tx.execute(
        "UPDATE attempt SET secured = greatest(secured, :fraction) WHERE task_id = :task AND n = :n",
        {"task": task, "n": n, "fraction": fraction},
    )


def has_progressed(tx: Transaction, task: UUID, n: int) -> bool:
    """Whether an attempt has left a checkpoint further on than all before it."""
    progressed: bool = tx.execute(
        """
        SELECT coalesce(max(secured) FILTER (WHERE n = :n), 0) > coalesce(max(secured) FILTER (WHERE n < :n), 0)
        FROM attempt WHERE task_id = :task
        """,
        {"task": task, "n": n},
    ).scalar_one()
    return progressed
