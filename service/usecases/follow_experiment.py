"""What happened to an experiment since somebody last looked."""

from dataclasses import dataclass
from uuid import UUID

from service.domain.states import ExperimentState
from service.domain.views import Event
from service.storage import Storage, events, experiments


@dataclass(frozen=True, slots=True)
class EventsSince:
    """Events in their order, and whether there can be no more after them."""

    events: tuple[Event, ...]
    ended: bool


def follow_experiment(store: Storage, experiment: UUID, after: int, limit: int) -> EventsSince:
    """Up to ``limit`` events with ids above ``after``. Raises NotFound."""
    with store.reading() as tx:
        state = experiments.get(tx, experiment).state
        return EventsSince(events.after(tx, experiment, after, limit), state in ExperimentState.ended())
