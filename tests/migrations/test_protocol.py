"""Revision 0004 leaves what it finds as it is, there and back."""

from service.storage import Storage
from service.storage.migrations import downgrade, upgrade
from service.usecases.drain_worker import drain_worker
from service.usecases.retry_experiment import retry_experiment
from tests.service.lab import LEASE, Lab
from tests.service.usecases.test_retry import fail

BEFORE = "0003"
KEPT = (
    "SELECT t.id, t.state, t.attempt, a.outcome, a.log FROM task t JOIN attempt a ON a.task_id = t.id ORDER BY 1, a.n"
)


def test_attempts_survive_the_way_back_and_forth(database_url: str) -> None:
    store = Storage.connect(database_url, pool_size=4)
    lab = Lab(store)
    experiment, worker = lab.submit(), lab.worker()
    lab.drive(experiment, worker, lambda lease: fail(lab, lease))
    assert retry_experiment(lab.store, experiment).tasks == 3
    drain_worker(lab.store, worker, LEASE)
    kept = lab.rows(KEPT)
    store.close()

    downgrade(database_url, BEFORE)
    assert lab.rows(KEPT) == kept
    store.close()
    upgrade(database_url)

    assert lab.rows(KEPT) == kept
    assert lab.value("SELECT count(*) FROM worker WHERE draining_at IS NULL") == 1
    lab.drive(experiment, worker)
    assert lab.value("SELECT count(*) FROM trial WHERE state = 'complete'") == 3
    store.close()
