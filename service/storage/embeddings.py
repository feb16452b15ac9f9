"""Tasks of kind embed with what they brought."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.domain.states import TaskState
from service.domain.work import TaskWork
from service.storage.codec import decode
from service.storage.engine import Transaction


@dataclass(frozen=True, slots=True)
class EmbeddingRow:
    """An embedding; ``outcome`` is in the form of ``contract.tasks.EmbeddingOutcome`` once it is done."""

    id: UUID
    search_id: UUID
    seed: int
    label: str
    state: TaskState
    created_at: datetime
    work: TaskWork
    failure: str | None
    outcome: Mapping[str, Any] | None


def of_searches(tx: Transaction, searches: Collection[UUID]) -> list[EmbeddingRow]:
    """The embeddings of networks that end with one of these searches, oldest first."""
    rows = tx.execute(
        """
        SELECT t.*, r.payload FROM task t LEFT JOIN result r ON r.task_id = t.id
        WHERE t.search_id = ANY(CAST(:searches AS uuid[])) AND t.kind = 'embed' ORDER BY t.created_at, t.id
        """,
        {"searches": list(searches)},
    )
    return [
        EmbeddingRow(
            id=row.id,
            search_id=row.search_id,
            seed=row.seed,
            label=row.label,
            state=TaskState(row.state),
            created_at=row.created_at,
            work=decode(TaskWork, row.work),
            failure=row.failure,
            outcome=row.payload,
        )
        for row in rows
    ]
