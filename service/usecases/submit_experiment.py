"""Take a submission: plan it, share what exists, store the rest."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from service.domain.errors import Conflict
from service.domain.experiment import ExperimentSpec
from service.domain.identity import digest
from service.domain.states import SearchState
from service.failpoints import reach
from service.storage import Storage, experiments, searches
from service.usecases.limit_experiments import limit_experiments
from service.usecases.share_searches import share_searches


def submit_experiment(
    store: Storage,
    document: dict[str, Any],
    spec: ExperimentSpec,
    idempotency_key: str | None = None,
    most_open: int = 0,
) -> UUID:
    """Start an experiment and return its id.

    ``document`` is the submission as JSON, kept for people. The same ``idempotency_key`` with the same document gives
    the experiment it gave before. Searches that exist already are shared, finished ones taken over,
    fruitless ones too where searching again would find the same.

    Raises:
        Conflict: the key was used for another document.
        TooManyExperiments: ``most_open`` are running or paused already; 0 takes any number.
    """
    experiment_id = uuid4()
    salt = None if spec.reuse else str(experiment_id)
    body_digest = digest(document)
    with store.transaction() as tx:
        if idempotency_key is not None:
            known = experiments.lock_key(tx, idempotency_key)
            if known is not None:
                known_id, known_digest = known
                if known_digest != body_digest:
                    raise Conflict(f"the idempotency key was used for another submission, experiment {known_id}")
                return known_id
        experiments.lock_membership(tx)
        limit_experiments(tx, most_open)
        sharing = share_searches(tx, spec, salt)
        plan, shared, ids = sharing.plan, sharing.found, sharing.ids
        generations = searches.generations(tx, [planned.key for planned in plan.searches])
        new: list[searches.NewSearch] = []
        for planned in plan.searches:
            if planned.key in shared:
                continue
            again = generations.get(planned.key, 0)
            new.append(
                searches.NewSearch(
                    id=ids[planned.key],
                    name=f"{planned.name} ({again + 1})" if again else planned.name,
                    planned=planned,
                    state=SearchState.WAITING,
                    parent_id=ids[planned.parent] if planned.parent else None,
                    earlier_id=ids[planned.earlier] if planned.earlier else None,
                    match_ids=tuple(ids[match] for match in planned.matches),
                )
            )
        stored = {key: found.name for key, found in shared.items()} | {item.planned.key: item.name for item in new}
        experiments.add(
            tx,
            experiment_id=experiment_id,
            submission=document,
            spec=spec,
            plan=plan,
            body_digest=body_digest,
            key=idempotency_key,
        )
        searches.add(tx, replace(spec, architectures=(), variants=()), new)
        labels, leaves = [variant.label for variant in spec.variants], plan.leaves
        experiments.attach(
            tx,
            experiment_id,
            [
                experiments.Membership(
                    search_id=ids[planned.key],
                    position=position,
                    name=stored[planned.key],
                    phase=planned.phase,
                    used_by=tuple(labels[index] for index in planned.used_by),
                    leaf=planned.key in leaves,
                    seeds=(planned.seed,) if spec.search.every_seed else spec.seeds,
                    reused=planned.key in shared,
                )
                for position, planned in enumerate(plan.searches)
            ],
        )
        tx.announce(experiment_id, "submitted", name=spec.name, searches=len(plan.searches), reused=len(shared))
        reach("before-submit-commit")
    reach("after-submit-commit")
    return experiment_id
