"""The checker sees what it is there to see."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.world import World
from tests.invariants import violations
from tests.service.api.helpers import DOTS, checkpoint, fence, submission, trained

WORKER = "00000000-0000-4000-8000-000000000001"
TOTAL = [{"architecture": "A", "learning": "total"}]
DAMAGE = {
    "I1: a trial goes on without": "UPDATE task SET state = 'failed', finished_at = now() WHERE state = 'ready'",
    "I2: a result was accepted": "UPDATE attempt SET outcome = 'lost'",
    "a result was accepted from another attempt": "UPDATE task SET attempt = attempt + 1 WHERE state = 'done'",
    "attempt numbers have gaps": "UPDATE attempt SET n = 7; UPDATE result SET attempt = 7; UPDATE task SET attempt = 7",
    "I6: a task carries more strikes": "UPDATE task SET strikes = 1",
    "I4: study": "UPDATE trial SET value = 0.9 WHERE state = 'complete'",
    "I4: Optuna has a study": "INSERT INTO optuna.studies (study_name) VALUES ('foreign')",
    "I5: artifact": "UPDATE artifact SET size = size + 1",
}


@pytest.fixture
def world(chaos_database: str, tmp_path: Path) -> Iterator[World]:
    """A server with one finished trial of three."""
    world = World(chaos_database, tmp_path)
    world.reset()
    body = {"name": "w", "device": "cpu", "slots": 1, "datasets": [DOTS]}
    world.call("PUT", f"/v1/worker/workers/{WORKER}", body)
    world.call("POST", "/v1/experiments", submission(architectures={"A": ["Conv-3-4"]}, variants=TOTAL), scope="admin")
    world.plan()
    lease = world.call("POST", "/v1/worker/leases", {"worker": WORKER, "request_id": WORKER}).json()
    sha256, data = checkpoint()
    world.call("PUT", f"/v1/worker/artifacts/{sha256}", params=fence(lease), content=data)
    path = f"/v1/worker/tasks/{lease['task']}/attempts/{lease['attempt']}/result"
    assert world.call("PUT", path, trained(sha256)).is_success
    world.plan()
    yield world
    world.reset()
    world.close()


def found(world: World) -> str:
    return "\n".join(violations(world.url, world.home))


@pytest.mark.parametrize("violation", list(DAMAGE))
def test_damage_is_seen(world: World, violation: str) -> None:
    assert found(world) == ""
    with world.store.transaction() as tx:
        connection = tx.connection
        connection.exec_driver_sql("SET session_replication_role = replica")
        connection.exec_driver_sql(f"SET search_path = stagetune; {DAMAGE[violation]}")
        connection.commit()
        connection.exec_driver_sql("SET session_replication_role = DEFAULT")
    assert violation in found(world)


def test_files_without_rows_and_secrets_in_logs_are_seen(world: World) -> None:
    (artifact,) = (world.home / "artifacts").glob("??/*")
    stray = artifact.with_name("f" * 64)
    stray.write_bytes(b"stray")
    artifact.write_bytes(artifact.read_bytes()[:-1] + b"\xff")
    (world.home / "server.log").write_bytes(b"Bearer " + world.settings.worker_token_file.read_bytes())
    lines = found(world)
    assert f"{stray.name} has a file and no row" in lines
    assert "is not what its name says" in lines
    assert "I8: server.log has the secret of worker-token" in lines
