"""Looking at experiments, searches and trials."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from uuid import UUID

from service.domain.datasets import what_is_missing
from service.domain.errors import InvalidRequest
from service.domain.states import ExperimentState, SearchState, TaskKind, TaskState
from service.domain.views import ExperimentPage, ExperimentView, SearchView, TrialView
from service.storage import Storage, experiments, search_views, searches, tasks, trials, workers

# They have left nothing to fit with other seeds, and no network to test.
_BARREN = (SearchState.DEAD, SearchState.INFEASIBLE)


def list_experiments(
    store: Storage, limit: int = 50, cursor: str | None = None, state: ExperimentState | None = None
) -> ExperimentPage:
    """Newest first. A page starts after its cursor, so that new experiments shift nothing.

    Raises:
        InvalidRequest: the cursor is not one of ours.
    """
    with store.reading() as tx:
        # One more than asked for tells whether there is another page.
        rows = experiments.page(tx, limit + 1, None if cursor is None else _position(cursor), state)
    items = tuple(rows[:limit])
    return ExperimentPage(items, _cursor(items[-1].created_at, items[-1].id) if len(rows) > limit else None)


def get_experiment(store: Storage, experiment_id: UUID, alive_seconds: float = workers.ALIVE_SECONDS) -> ExperimentView:
    """How far it is, and what it waits for if no worker seen within ``alive_seconds`` can help. Raises NotFound."""
    with store.reading() as tx:
        experiment = experiments.get(tx, experiment_id)
        summary = experiments.summary(tx, experiment_id)
        views = search_views.of_experiment(tx, experiment_id)
        others = tasks.of_searches(tx, [view.id for view in views], (TaskKind.FIT, TaskKind.EVALUATE))
        members = {member.search_id: member for member in experiments.memberships(tx, experiment_id)}
        fleet = workers.fleet(tx, alive_seconds)
        holders = workers.holders(tx, alive_seconds, experiment.spec.dataset.digest)
    wanted = [task for task in others if task.seed in members[task.search_id].seeds]
    fits = [task for task in wanted if task.kind is TaskKind.FIT]
    tests = [task for task in wanted if task.kind is TaskKind.EVALUATE and members[task.search_id].leaf]
    most_fits, most_tests = len(fits), len(tests)
    # Of an ended experiment what was made is all; one that was cancelled shows how far it would have gone.
    if experiment.state not in (ExperimentState.FINISHED, ExperimentState.FAILED):
        barren = [members[view.id] for view in views if view.state in _BARREN]
        most_fits = experiment.plan.fits - sum(len(member.seeds) - 1 for member in barren)
        most_tests = experiment.plan.evaluations - sum(len(member.seeds) for member in barren if member.leaf)
    waits = experiment.state is ExperimentState.RUNNING
    missing = what_is_missing(summary.dataset, fleet.workers, holders) if waits else None
    return ExperimentView(
        id=summary.id,
        name=summary.name,
        dataset=summary.dataset,
        state=summary.state,
        created_at=summary.created_at,
        finished_at=summary.finished_at,
        variants=summary.variants,
        searches=summary.searches,
        searches_decided=summary.searches_decided,
        trials=summary.trials,
        trials_finished=summary.trials_finished,
        submission=experiment.submission,
        stage_searches=views,
        fits=most_fits,
        fits_finished=sum(task.state in TaskState.ended() for task in fits),
        evaluations=most_tests,
        evaluations_finished=sum(task.state in TaskState.ended() for task in tests),
        notes=() if missing is None else (missing,),
    )


def get_search(store: Storage, search_id: UUID) -> SearchView:
    """How far it is, named as the newest experiment on it names it. Raises NotFound."""
    with store.reading() as tx:
        return search_views.get(tx, search_id)


def list_trials(store: Storage, search_id: UUID) -> tuple[TrialView, ...]:
    """The search's trials by ordinal. Raises NotFound."""
    with store.reading() as tx:
        searches.get(tx, search_id)
        return trials.views(tx, search_id)


def _cursor(created_at: datetime, experiment_id: UUID) -> str:
    return urlsafe_b64encode(f"{created_at.isoformat()} {experiment_id}".encode()).decode()


def _position(cursor: str) -> tuple[datetime, UUID]:
    try:
        moment, experiment_id = urlsafe_b64decode(cursor.encode()).decode().rsplit(" ", 1)
        position = datetime.fromisoformat(moment), UUID(experiment_id)
    except ValueError as error:
        raise InvalidRequest("cursor is not one that this list gave") from error
    if position[0].tzinfo is None:
        raise InvalidRequest("cursor is not one that this list gave")
    return position
