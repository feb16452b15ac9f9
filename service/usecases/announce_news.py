"""Tell the history of experiments what became of the searches they stand on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from service.storage import Transaction, experiments


@dataclass(frozen=True, slots=True)
class News:
    """A line about a search; ``data`` is what it says beside the search's id."""

    search: UUID
    kind: str
    data: Mapping[str, object] = field(default_factory=dict)


def announce_news(tx: Transaction, news: Sequence[News]) -> None:
    """Add the lines, in their order, to the history of every live experiment that stands on their searches."""
    if not news:
        return
    standing = experiments.on_searches(tx, {item.search for item in news})
    for item in news:
        for experiment in standing.get(item.search, ()):
            tx.announce(experiment, item.kind, search=str(item.search), **item.data)
