"""Dry run of a submission: what would be trained, what exists already, and how long the rest may take."""

from service.domain.estimate import plan_seconds, training_costs
from service.domain.experiment import ExperimentSpec
from service.domain.plan import full_work
from service.domain.remaining import remaining_work
from service.domain.views import PlanView, view_plan
from service.storage import Storage, existing, results, workers
from service.usecases.share_searches import share_searches


def plan_submission(store: Storage, spec: ExperimentSpec, alive_seconds: float = workers.ALIVE_SECONDS) -> PlanView:
    """The plan; nothing is stored.

    The estimate rests on trainings of the same data set that have finished and the slots that are there; it is None
    without them.
    """
    salt = None if spec.reuse else "preview"
    with store.reading() as tx:
        sharing = share_searches(tx, spec, salt)
        there = existing.of_searches(tx, [found.id for found in sharing.found.values()])
        costs = training_costs(results.recent_trainings(tx, spec.dataset.digest))
        slots = workers.fleet(tx, alive_seconds).slots
    plan, known = sharing.plan, {key: there[found.id] for key, found in sharing.found.items()}
    whole = full_work(spec, plan.searches, plan.leaves)
    left = remaining_work(spec, plan, whole, known)
    least, most = (
        None if costs is None else plan_seconds(spec, plan, whole, left, costs, second_rounds=second_rounds)
        for second_rounds in (False, True)
    )

    def shared(seconds: float | None) -> float | None:
        return seconds / slots if seconds is not None and slots else None

    return view_plan(spec, plan, known, whole, left, shared(least), shared(most))
