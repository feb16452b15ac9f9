"""Dry run of a submission: what would be trained, what exists already, and how long the rest may take."""

from service.domain.experiment import ExperimentSpec
from service.domain.plan import plan_experiment
from service.domain.views import PlanView, view_plan
from service.storage import Storage, results, searches, workers


def plan_submission(store: Storage, spec: ExperimentSpec, alive_seconds: float = workers.ALIVE_SECONDS) -> PlanView:
    """The plan; nothing is stored. The estimate rests on trainings that have finished and the slots that are there."""
    plan = plan_experiment(spec, salt=None if spec.reuse else "preview")
    with store.reading() as tx:
        living = searches.living(tx, [planned.key for planned in plan.searches])
        rate = results.seconds_per_multiply_add(tx)
        slots = workers.fleet(tx, alive_seconds).slots
    seeds = len(spec.seeds) - 1
    ahead = sum(
        planned.multiply_adds
        * planned.budget.epochs
        * spec.split.train
        * ((0 if planned.key in living else planned.budget.trials) + seeds)
        for planned in plan.searches
    )
    seconds = ahead * rate / slots if rate is not None and slots else None
    return view_plan(spec, plan, living.keys(), seconds)
