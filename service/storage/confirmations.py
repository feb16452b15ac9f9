"""Confirmations: fits that train the best trials of a search again, with other seeds; and the prefixes they judge."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from service.domain.states import TaskState
from service.storage.engine import Transaction


@dataclass(frozen=True, slots=True)
class ConfirmationRow:
    """A confirmation as stored; ``accuracy`` is the validation accuracy, None without an accepted result."""

    search_id: UUID
    candidate_id: UUID
    seed: int
    state: TaskState
    accuracy: float | None
    diverged: bool

    def told(self, chance: float) -> float | None:
        """What it counts as: a diverged one as chance."""
        return chance if self.diverged else self.accuracy


@dataclass(frozen=True, slots=True)
class Prefix:
    """The decided search before another one, and what its incumbent reached as a trial."""

    search_id: UUID
    incumbent_id: UUID
    accuracy: float


def of_searches(tx: Transaction, searches: Collection[UUID]) -> list[ConfirmationRow]:
    """The confirmations of some searches that were not cancelled."""
    rows = tx.execute(
        """
        SELECT t.search_id, t.candidate_id, t.seed, t.state, r.validation_accuracy,
               coalesce(r.outcome = 'diverged', false) AS diverged
        FROM task t LEFT JOIN result r ON r.task_id = t.id
        WHERE t.search_id = ANY(CAST(:searches AS uuid[])) AND t.kind = 'fit' AND t.candidate_id IS NOT NULL
          AND t.state <> 'cancelled'
        """,
        {"searches": list(searches)},
    )
    return [
        ConfirmationRow(
            search_id=row.search_id,
            candidate_id=row.candidate_id,
            seed=row.seed,
            state=TaskState(row.state),
            accuracy=row.validation_accuracy,
            diverged=row.diverged,
        )
        for row in rows
    ]


def prefixes(tx: Transaction, ids: Collection[UUID]) -> dict[UUID, Prefix]:
    """What stands before each of some searches; those without a prefix have none."""
    rows = tx.execute(
        """
        SELECT s.id, s.parent_id, t.id AS incumbent_id, t.value FROM search s
        JOIN search parent ON parent.id = s.parent_id JOIN trial t ON t.id = parent.incumbent_id
        WHERE s.id = ANY(CAST(:ids AS uuid[]))
        """,
        {"ids": list(ids)},
    )
    return {row.id: Prefix(row.parent_id, row.incumbent_id, row.value) for row in rows}
