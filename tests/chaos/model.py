"""What the machine of R4 knows of tasks and their attempts."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Attempt:
    """A lease that some worker was given; ``outcome`` is empty while it has its task."""

    task: "Task"
    n: int
    worker: str
    request: str
    outcome: str = ""
    accepted: dict[str, Any] | None = None

    @property
    def path(self) -> str:
        return f"/v1/worker/tasks/{self.task.id}/attempts/{self.n}"

    @property
    def fence(self) -> str:
        """The query that an upload has."""
        return f"?task={self.task.id}&attempt={self.n}"

    @property
    def current(self) -> bool:
        return self.task.attempts[-1] is self

    @property
    def may_write(self) -> bool:
        """It has its task, or lost it to nobody yet."""
        held = self.task.state == "leased" or (self.task.state == "ready" and self.outcome == "lost")
        return self.current and held


@dataclass
class Task:
    """What the model knows of a task that was leased once."""

    id: str
    kind: str
    experiment: str
    state: str = "ready"
    attempts: list[Attempt] = field(default_factory=list)
    expired: bool = False
    resting: bool = False
    forgiven: int = 0
    """So many attempts lie before its last retry."""
    snapshot: tuple[int, str, float] | None = None
    """The attempt that brought the newest, its digest, and how much is done in it."""

    @property
    def strikes_at_most(self) -> int:
        return sum(attempt.outcome in ("lost", "struck") for attempt in self.attempts[self.forgiven :])
