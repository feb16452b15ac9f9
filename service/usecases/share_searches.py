"""Find what a submission shares with the experiments before it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

from service.domain.experiment import ExperimentSpec
from service.domain.identity import key_apart
from service.domain.plan import Plan, plan_experiment
from service.storage import Transaction, searches
from service.storage.searches import Shareable


@dataclass(frozen=True, slots=True)
class Sharing:
    """A plan, those of its searches that are ``found`` in place, and the ids of all, by key."""

    plan: Plan
    found: Mapping[str, Shareable]
    ids: Mapping[str, UUID]


def share_searches(tx: Transaction, spec: ExperimentSpec, salt: str | None) -> Sharing:
    """Plan an experiment so that no search is shared that stands on others than its own, and find what there is of it.

    A search goes on when those before it have ended, even of failures, with the seconds they had spent or without the
    incumbent they owed. The next submission searches these again. What stood on the old ones has the key of what will
    stand on the new ones, and is no answer for it: that gets a key of its own, under which it is found from then on.
    """
    new: dict[str, UUID] = defaultdict(uuid4)
    apart: dict[str, str] = {}
    while True:
        plan = plan_experiment(spec, salt, apart)
        found = searches.shareable(tx, [planned.key for planned in plan.searches])
        ids = {
            planned.key: found[planned.key].id if planned.key in found else new[planned.key]
            for planned in plan.searches
        }
        stale = {}
        for planned in plan.searches:
            stands_on = tuple(None if link is None else ids[link] for link in planned.stands_on)
            if planned.key in found and found[planned.key].stands_on != stands_on:
                stale[planned.key] = key_apart(planned.key, stands_on)
        if not stale:
            return Sharing(plan, found, ids)
        apart |= stale
