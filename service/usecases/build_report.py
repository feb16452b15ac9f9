"""The report of an experiment, finished or not."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from uuid import UUID

from service.domain.findings import Evaluation, SearchFacts, Training
from service.domain.notation import write
from service.domain.plan import searched_seeds
from service.domain.report import CurvePoint, Report
from service.domain.reporting import assemble_report
from service.domain.search import taken_over
from service.domain.states import FeaturePlace, TaskKind
from service.storage import Storage, Transaction, confirmations, costs, experiments, results, searches
from service.storage.confirmations import ConfirmationRow
from service.storage.costs import OtherCost, TriedRow
from service.storage.experiments import ExperimentRow, Membership
from service.storage.results import LostFit, PlacedTrainings
from service.storage.searches import SearchRow

PURGED = "an experiment that was purged"
"""Who brought a search that nobody is left to ask about."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What is stored about the searches of an experiment, by search."""

    tried: dict[UUID, list[TriedRow]]
    curves: dict[UUID, tuple[CurvePoint, ...]]
    incumbents: dict[UUID, Training]
    fits: dict[UUID, dict[int, Training]]
    lost: dict[UUID, list[LostFit]]
    evaluations: dict[UUID, dict[int, Evaluation]]
    others: dict[UUID, list[OtherCost]]
    confirmed: dict[UUID, list[ConfirmationRow]]
    sharers: dict[UUID, str]
    placed: dict[UUID, list[PlacedTrainings]]


def build_report(store: Storage, experiment_id: UUID) -> Report:
    """Total against Partial from what is stored now, in a fixed number of statements. Raises NotFound."""
    with store.reading() as tx:
        experiment = experiments.get(tx, experiment_id)
        members = {member.search_id: member for member in experiments.memberships(tx, experiment_id)}
        rows = searches.of_experiment(tx, experiment_id)
        read = _read(tx, experiment_id, list(members))
        devices = results.devices(tx, members)
        until = experiment.finished_at or tx.now()
    return assemble_report(
        experiment.id,
        experiment.state,
        experiment.spec,
        experiment.plan.variants,
        {row.key: _facts(experiment, members[row.id], row, read) for row in rows},
        devices,
        (until - experiment.created_at).total_seconds(),
    )


def _read(tx: Transaction, experiment: UUID, ids: list[UUID]) -> _Read:
    incumbents: dict[UUID, Training] = {}
    fits: dict[UUID, dict[int, Training]] = defaultdict(dict)
    for item in results.trainings(tx, ids):
        if item.kind is TaskKind.TRIAL:
            incumbents[item.search_id] = item.training
        else:
            fits[item.search_id][item.seed] = item.training
    lost: dict[UUID, list[LostFit]] = defaultdict(list)
    for fit in results.lost_fits(tx, ids):
        lost[fit.search_id].append(fit)
    others: dict[UUID, list[OtherCost]] = defaultdict(list)
    for cost in costs.others(tx, ids):
        others[cost.search_id].append(cost)
    confirmed: dict[UUID, list[ConfirmationRow]] = defaultdict(list)
    for confirmation in confirmations.of_searches(tx, ids):
        confirmed[confirmation.search_id].append(confirmation)
    placed: dict[UUID, list[PlacedTrainings]] = defaultdict(list)
    for trainings in results.feature_places(tx, ids):
        placed[trainings.search_id].append(trainings)
    return _Read(
        tried=costs.tried(tx, ids),
        curves=results.curves(tx, ids),
        incumbents=incumbents,
        fits=fits,
        lost=lost,
        evaluations=results.evaluations(tx, ids),
        others=others,
        confirmed=confirmed,
        sharers=experiments.sharers(tx, experiment),
        placed=placed,
    )


def _facts(experiment: ExperimentRow, member: Membership, row: SearchRow, read: _Read) -> SearchFacts:
    chance = experiment.spec.dataset.chance
    decided_before = taken_over(member.reused, row.decided_at, experiment.created_at)
    fitted = set(experiment.spec.seeds) - set(searched_seeds(experiment.spec))
    tried, others = read.tried.get(row.id, []), read.others.get(row.id, [])
    lost = [fit for fit in read.lost.get(row.id, []) if fit.seed in fitted]
    fits = [cost for cost in others if cost.kind is TaskKind.FIT and not cost.confirms]
    wanted = [cost for cost in fits if cost.seed in fitted]
    older = [cost for cost in wanted if cost.finished_at is not None and cost.finished_at <= experiment.created_at]
    places: Counter[FeaturePlace] = Counter()
    for item in read.placed.get(row.id, []):
        # Fits on seeds that only other experiments have are none of this one's.
        if item.fitted is None or item.fitted in fitted:
            places[item.place] += item.trainings
    return SearchFacts(
        id=row.id,
        name=row.name,
        stage=write(row.planned.stage.layers),
        state=row.state,
        reused=decided_before,
        shared_with=read.sharers.get(row.id, PURGED) if member.reused and not decided_before else None,
        epochs=row.planned.budget.epochs,
        chosen=next((trial.tried for trial in tried if trial.chosen), None),
        incumbent=read.incumbents.get(row.id),
        tried=tuple(trial.tried for trial in tried),
        range_test_seconds=sum(cost.seconds for cost in others if cost.kind is TaskKind.RANGE_TEST),
        confirmation_seconds=sum(cost.seconds for cost in others if cost.confirms),
        confirmations=tuple(
            told
            for item in read.confirmed.get(row.id, [])
            if item.candidate_id == row.incumbent_id and (told := item.told(chance)) is not None
        ),
        second_round=row.round > 1,
        allowed_seconds=row.seconds,
        curve=read.curves.get(row.id, ()),
        fits={seed: fit for seed, fit in read.fits.get(row.id, {}).items() if seed in fitted},
        diverged_fits=frozenset(fit.seed for fit in lost if fit.diverged),
        failed_fits=frozenset(fit.seed for fit in lost if not fit.diverged),
        fit_seconds=sum(cost.seconds for cost in wanted),
        reused_fits=len(older),
        reused_fit_seconds=sum(cost.seconds for cost in older),
        evaluations=read.evaluations.get(row.id, {}),
        features=places,
    )
