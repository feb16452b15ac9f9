"""An ended experiment is removed for good, and nothing that another one stands on is touched."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import optuna
import pytest

from service.domain.errors import Conflict, NotFound
from service.domain.states import ExperimentState, TaskKind
from service.storage import tasks
from service.storage.tasks import NewTask
from service.tuning.projection import StudyProjection, optuna_url
from service.usecases.build_report import build_report
from service.usecases.control_experiment import cancel_experiment, pause_experiment
from service.usecases.drop_studies import drop_studies
from service.usecases.look_up import get_experiment
from service.usecases.project_studies import project_studies
from service.usecases.purge_experiment import purge_experiment
from tests.invariants import violations
from tests.service.lab import TREE, Lab

OURS = ("experiment", "search", "trial", "task", "attempt", "result", "report", "event", "experiment_search")


@pytest.fixture
def projection(database_url: str) -> Iterator[StudyProjection]:
    made = StudyProjection(database_url)
    yield made
    made.close()


def counts(lab: Lab) -> dict[str, int]:
    return {table: lab.value(f"SELECT count(*) FROM {table}") for table in OURS}


def studies(database_url: str) -> set[str]:
    return set(optuna.get_all_study_names(optuna_url(database_url)))


def names(lab: Lab) -> set[str]:
    return {row.name for row in lab.rows("SELECT name FROM search")}


def test_alone_it_goes_with_everything_but_its_artifacts(lab: Lab) -> None:
    experiment = lab.submit(TREE, seeds=[0, 1], phases=[{"epochs": 1, "trials": 2}, {"epochs": 2, "trials": 2}])
    lab.drive(experiment, lab.worker())
    artifacts = lab.value("SELECT count(*) FROM artifact")
    assert artifacts > 0

    purge_experiment(lab.store, experiment)

    assert set(counts(lab).values()) == {0}
    assert lab.value("SELECT count(*) FROM artifact") == artifacts
    with pytest.raises(NotFound):
        purge_experiment(lab.store, experiment)


def test_what_another_shares_is_not_touched(lab: Lab) -> None:
    worker = lab.worker()
    first = lab.submit(TREE)
    lab.drive(first, worker)
    second = lab.submit({"A": TREE["A"]})
    lab.drive(second, worker)
    before, shown = build_report(lab.store, second), get_experiment(lab.store, second)
    assert lab.value("SELECT count(*) FROM search") > shown.searches

    purge_experiment(lab.store, first)

    assert build_report(lab.store, second) == before
    assert get_experiment(lab.store, second) == shown
    assert lab.value("SELECT count(*) FROM search") == shown.searches
    purge_experiment(lab.store, second)
    assert set(counts(lab).values()) == {0}


def test_a_search_that_was_shared_under_way_says_that_its_owner_is_gone(lab: Lab) -> None:
    worker, first = lab.worker(), lab.submit()
    lab.plan()
    second = lab.submit()
    cancel_experiment(lab.store, first)
    purge_experiment(lab.store, first)
    lab.drive(second, worker)
    assert lab.state(second) is ExperimentState.FINISHED
    build_report(lab.store, second)


def test_only_what_has_ended_is_removed(lab: Lab) -> None:
    experiment = lab.submit()
    with pytest.raises(Conflict, match="running"):
        purge_experiment(lab.store, experiment)
    pause_experiment(lab.store, experiment)
    with pytest.raises(Conflict, match="paused"):
        purge_experiment(lab.store, experiment)
    with pytest.raises(NotFound):
        purge_experiment(lab.store, uuid4())


def test_not_while_a_worker_is_at_an_embedding_of_it(lab: Lab) -> None:
    worker, experiment = lab.worker(), lab.submit()
    tested = lab.drive(experiment, worker)[-1]
    search = lab.value("SELECT search_id FROM task WHERE id = :id", id=tested.task)
    with lab.store.transaction() as tx:
        tasks.add(tx, [NewTask(uuid4(), TaskKind.EMBED, search, tested.work.seed, "embedding", tested.work)])
    lease = lab.take(worker)

    with pytest.raises(Conflict, match="embedding"):
        purge_experiment(lab.store, experiment)

    lab.finish(lease)
    purge_experiment(lab.store, experiment)
    assert set(counts(lab).values()) == {0}


def test_its_studies_go_and_those_of_others_stay(lab: Lab, projection: StudyProjection, database_url: str) -> None:
    worker = lab.worker()
    first = lab.submit(TREE)
    lab.drive(first, worker)
    second = lab.submit({"A": TREE["A"]})
    lab.drive(second, worker)
    project_studies(lab.store, projection.sync)
    assert studies(database_url) == names(lab)

    purge_experiment(lab.store, first)
    assert drop_studies(lab.store, projection.drop) > 0

    assert studies(database_url) == names(lab)
    assert drop_studies(lab.store, projection.drop) == 0
    assert violations(database_url) == []


def test_a_search_that_comes_to_a_purged_name_has_its_study(
    lab: Lab, projection: StudyProjection, database_url: str
) -> None:
    worker = lab.worker()
    first = lab.submit()
    lab.drive(first, worker)
    project_studies(lab.store, projection.sync)
    purge_experiment(lab.store, first)
    # The same again, shown before the old study was dropped.
    second = lab.submit()
    lab.drive(second, worker)
    project_studies(lab.store, projection.sync)

    drop_studies(lab.store, projection.drop)
    project_studies(lab.store, projection.sync)

    assert studies(database_url) == names(lab)
    assert violations(database_url) == []


def test_names_are_not_given_twice(lab: Lab) -> None:
    first = lab.submit()
    cancel_experiment(lab.store, first)
    second = lab.submit()
    cancel_experiment(lab.store, second)
    purge_experiment(lab.store, first)
    lab.submit()
    assert len(names(lab)) == lab.value("SELECT count(*) FROM search") == 2


def test_a_search_that_others_stand_on_stays(lab: Lab) -> None:
    """No submission makes such a search, but the database allows it, and losing it would lose its children."""
    experiment = lab.submit(TREE)
    lab.drive(experiment, lab.worker())
    child, parent = lab.rows("SELECT id, parent_id FROM search WHERE parent_id IS NOT NULL")[0]
    other = lab.submit({"C": ["Conv-5-2 Pool-2"]})
    lab.run("UPDATE experiment_search SET experiment_id = :other, position = 99 WHERE search_id = :child",
            other=other, child=child)  # fmt: skip

    purge_experiment(lab.store, experiment)

    left = {row.id for row in lab.rows("SELECT id FROM search")}
    assert {child, parent} <= left
    cancel_experiment(lab.store, other)
    purge_experiment(lab.store, other)
    assert set(counts(lab).values()) == {0}


def test_submitting_and_purging_at_once_loses_nothing(lab: Lab, projection: StudyProjection, database_url: str) -> None:
    def turn(number: int) -> UUID | None:
        experiment = lab.submit(TREE if number % 2 else {"A": TREE["A"]})
        if number % 3 == 0:
            return experiment
        cancel_experiment(lab.store, experiment)
        purge_experiment(lab.store, experiment)
        return None

    with ThreadPoolExecutor(6) as pool:
        kept = [experiment for experiment in pool.map(turn, range(24)) if experiment is not None]

    worker = lab.worker()
    for experiment in kept:
        lab.drive(experiment, worker)
        assert lab.state(experiment) is ExperimentState.FINISHED
    drop_studies(lab.store, projection.drop)
    project_studies(lab.store, projection.sync)
    assert studies(database_url) == names(lab)
    assert violations(database_url) == []
