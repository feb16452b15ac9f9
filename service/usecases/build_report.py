"""The report of an experiment, finished or not."""

from collections import defaultdict
from uuid import UUID

from service.domain.notation import write
from service.domain.report import Report, SearchFacts, Training
from service.domain.reporting import assemble_report
from service.domain.states import TaskKind
from service.storage import Storage, experiments, results, searches, trials
from service.storage.results import TrialCosts


def build_report(store: Storage, experiment_id: UUID) -> Report:
    """Total against Partial from what is stored now. Raises NotFound."""
    with store.reading() as tx:
        experiment = experiments.get(tx, experiment_id)
        members = {member.search_id: member for member in experiments.memberships(tx, experiment_id)}
        rows = searches.of_experiment(tx, experiment_id)
        points = trials.points(tx, [row.incumbent_id for row in rows])
        trained = results.trainings(tx, members)
        tested = results.evaluations(tx, members)
        costs = results.trial_costs(tx, members)
        devices = results.devices(tx, members)
        until = experiment.finished_at or tx.now()
    incumbents: dict[UUID, Training] = {}
    fits: dict[UUID, dict[int, Training]] = defaultdict(dict)
    for item in trained:
        if item.kind is TaskKind.TRIAL:
            incumbents[item.search_id] = item.training
        elif item.seed in experiment.spec.seeds[1:]:
            fits[item.search_id][item.seed] = item.training
    nothing = TrialCosts(0, 0, 0, 0, 0.0)
    facts = {}
    for row in rows:
        cost = costs.get(row.id, nothing)
        facts[row.key] = SearchFacts(
            id=row.id,
            name=row.name,
            stage=write(row.planned.stage.layers),
            state=row.state,
            reused=members[row.id].reused,
            hyperparameters=points[row.incumbent_id] if row.incumbent_id else None,
            incumbent=incumbents.get(row.id),
            trials=cost.trials,
            pruned=cost.pruned,
            diverged=cost.diverged,
            failed=cost.failed,
            search_seconds=cost.seconds,
            fits=fits.get(row.id, {}),
            evaluations=tested.get(row.id, {}),
        )
    return assemble_report(
        experiment.id,
        experiment.state,
        experiment.spec,
        experiment.plan.variants,
        facts,
        devices,
        (until - experiment.created_at).total_seconds(),
    )
