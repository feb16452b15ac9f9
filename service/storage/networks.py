"""Trained networks: how they did in their test, and their embeddings."""

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


@dataclass(frozen=True, slots=True)
class TestedRow:
    """The accuracy of a network on the test set, and the precision that it was computed in."""

    accuracy: float
    precision: str | None


def test_of(tx: Transaction, search: UUID, seed: int) -> TestedRow | None:
    """The test of the network that ends with a search, on a seed."""
    row = tx.execute(
        """
        SELECT r.test_accuracy, r.payload #>> '{provenance,precision}' AS precision
        FROM task t JOIN result r ON r.task_id = t.id
        WHERE t.search_id = :search AND t.seed = :seed AND t.kind = 'evaluate'
        """,
        {"search": search, "seed": seed},
    ).one_or_none()
    return None if row is None else TestedRow(row.test_accuracy, row.precision)


def embeddings(tx: Transaction, searches: Collection[UUID]) -> list[EmbeddingRow]:
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
