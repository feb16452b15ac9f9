"""The hot statements find their rows through their indexes, however many finished ones there are."""

import pytest
from sqlalchemy import text

from service.storage.tasks import CLAIM
from tests.service.lab import LEASE, Lab

MANY = 20_000


@pytest.fixture
def busy(lab: Lab) -> Lab:
    """Few open tasks among many that are done."""
    lab.submit(phases=[{"epochs": 1, "trials": 5}])
    lab.worker(slots=5)
    lab.plan()
    lab.run(
        """
        INSERT INTO task (id, kind, state, search_id, seed, label, work, dataset_digest, finished_at)
        SELECT gen_random_uuid(), 'embed', 'done', search_id, n, label, work, dataset_digest, now()
        FROM (SELECT * FROM task LIMIT 1) one, generate_series(1, :many) n
        """,
        many=MANY,
    )
    with lab.store.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
    return lab


def plan_of(lab: Lab, statement: str, **parameters: object) -> str:
    with lab.store.transaction() as tx:
        return "\n".join(tx.execute(f"EXPLAIN {statement}", parameters).scalars())


def test_a_claim_looks_at_ready_tasks_only(busy: Lab) -> None:
    worker = busy.value("SELECT id FROM worker")
    plan = plan_of(busy, CLAIM, worker=worker, request=worker, lease=LEASE)
    assert "ix_task_ready" in plan
    assert "Seq Scan on task" not in plan


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (
            "SELECT * FROM task WHERE state = 'leased' AND lease_expires_at < now() ORDER BY lease_expires_at LIMIT 9",
            "ix_task_",
        ),
        ("SELECT count(*) FROM task WHERE worker_id = :id AND state = 'leased'", "ix_task_worker"),
        ("UPDATE task SET fraction = 0.5 WHERE id = :id AND attempt = 1", "pk_task"),
    ],
)
def test_heartbeats_and_the_reaper_look_at_few_tasks(busy: Lab, statement: str, index: str) -> None:
    plan = plan_of(busy, statement, id=busy.value("SELECT id FROM task LIMIT 1"))
    assert index in plan
    assert "Seq Scan on task" not in plan
