"""Dry run of a submission: what would be trained, what exists already, and how long the rest may take."""

from collections.abc import Collection

from service.domain.estimate import TrainingCosts, training_costs
from service.domain.experiment import ExperimentSpec
from service.domain.plan import Plan, plan_experiment
from service.domain.views import PlanView, view_plan
from service.storage import Storage, results, searches, workers


def plan_submission(store: Storage, spec: ExperimentSpec, alive_seconds: float = workers.ALIVE_SECONDS) -> PlanView:
    """The plan; nothing is stored.

    The estimate rests on trainings of the same data set that have finished and the slots that are there; it is None
    without them.
    """
    plan = plan_experiment(spec, salt=None if spec.reuse else "preview")
    with store.reading() as tx:
        living = searches.living(tx, [planned.key for planned in plan.searches])
        costs = training_costs(results.recent_trainings(tx, spec.dataset.digest))
        slots = workers.fleet(tx, alive_seconds).slots
    seconds = _seconds(spec, plan, living.keys(), costs) if costs is not None else None
    return view_plan(spec, plan, living.keys(), seconds / slots if seconds is not None and slots else None)


def _seconds(spec: ExperimentSpec, plan: Plan, living: Collection[str], costs: TrainingCosts) -> float | None:
    """Of all trials and fits that are not there yet, one after the other; None if one is larger than can be known."""
    fits = plan.fits // len(plan.searches)
    total = 0.0
    for planned in plan.searches:
        ahead = (0 if planned.key in living else planned.budget.trials) + fits
        each = costs.seconds(planned.multiply_adds * planned.budget.epochs * spec.split.train)
        if ahead and each is None:
            return None
        total += ahead * (each or 0.0)
    return total
