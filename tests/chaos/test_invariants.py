"""The checker sees what it is there to see."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.usecases.log_in import log_in
from tests.chaos.world import World
from tests.invariants import QUERIES, violations
from tests.service.api.helpers import DOTS, checkpoint, fence, submission, trained

WORKER = "00000000-0000-4000-8000-000000000001"
TOTAL = [{"architecture": "A", "learning": "total"}]
AGAIN = (
    "INSERT INTO attempt (task_id, n, worker_id, request_id, started_at, ended_at, outcome)"
    " SELECT task_id, 2, worker_id, gen_random_uuid(),"
)
BETTER = "state = 'complete', value = 0.9, finished_at = now()"
DECIDE = "UPDATE search SET state = 'decided', incumbent_id = (SELECT id FROM trial WHERE ordinal = 0)"
CONFIRM = (
    "UPDATE task SET kind = 'fit', trial_id = NULL, candidate_id = (SELECT id FROM trial WHERE ordinal = 0)"
    " WHERE id = (SELECT id FROM task WHERE state = 'ready' LIMIT 1)"
)
# A second picture of the same trial.
_OF_THE_FIRST = "t WHERE trial_id = (SELECT trial_id FROM optuna.trials WHERE number = 0)"
TOLD_AGAIN = f"SELECT 999999999, 99, study_id, state FROM optuna.trials {_OF_THE_FIRST}"
ATTRIBUTES_AGAIN = f"SELECT 999999999, key, value_json FROM optuna.trial_user_attributes {_OF_THE_FIRST}"
VALUES_AGAIN = f"SELECT 999999999, objective, value, value_type FROM optuna.trial_values {_OF_THE_FIRST}"
# What each query is there to see, done to a search of three trials, of which one is complete and two are to be done.
DAMAGE = {
    "I1: a trial goes on without a task that somebody can do": [
        "UPDATE task SET state = 'failed', finished_at = now() WHERE state = 'ready'",
        "DELETE FROM task WHERE state = 'ready'",
    ],
    "I1: a trial has ended and its task has not": [
        "UPDATE trial SET state = 'failed', finished_at = now() WHERE state = 'running'",
    ],
    "I1: a search waits or goes on although no live experiment wants it": [
        "UPDATE experiment SET state = 'cancelled', finished_at = now()",
        "DELETE FROM experiment_search",
    ],
    "I2: a result was accepted from an attempt that did not hold the lease": [
        "UPDATE attempt SET outcome = 'lost'",
        "UPDATE attempt SET outcome = NULL, ended_at = NULL",
    ],
    "I3: an attempt began before the one before it had ended": [
        f"{AGAIN} started_at + (ended_at - started_at) / 2, ended_at, 'lost' FROM attempt",
        (
            f"{AGAIN} ended_at, ended_at, 'lost' FROM attempt;"
            "UPDATE attempt SET outcome = NULL, ended_at = NULL WHERE n = 1"
        ),
    ],
    "I6: a task carries more strikes than it had attempts that were lost or crashed": [
        "UPDATE task SET strikes = 1",
        "UPDATE task SET strikes = 1 WHERE attempt = 1; UPDATE attempt SET outcome = 'lost', reason = 'outage'",
    ],
    "a task was done without exactly one accepted result": [
        "DELETE FROM result",
        "UPDATE task SET state = 'failed' WHERE state = 'done'",
    ],
    "a result was accepted from another attempt than the last": [
        "UPDATE task SET attempt = attempt + 1 WHERE state = 'done'",
    ],
    "a task has more than one accepted attempt": [f"{AGAIN} ended_at, ended_at, 'accepted' FROM attempt"],
    "attempt numbers have gaps": [
        "UPDATE attempt SET n = 7; UPDATE result SET attempt = 7; UPDATE task SET attempt = 7",
        "UPDATE task SET attempt = 1 WHERE state = 'ready'",
    ],
    "an attempt goes on without a lease": ["UPDATE attempt SET outcome = NULL, ended_at = NULL"],
    "a finished trial and its task disagree": [
        "UPDATE task SET state = 'failed' WHERE state = 'done'",
        "UPDATE trial SET state = 'failed', value = NULL WHERE state = 'complete'",
    ],
    "a task waits or goes on although its search has ended without incumbent": ["UPDATE search SET state = 'dead'"],
    "a trial runs although its search has ended": ["UPDATE search SET state = 'cancelled'"],
    "a search was infeasible without a limit or a trial that was beyond it": [
        "UPDATE search SET state = 'infeasible'",
        "UPDATE search SET state = 'infeasible', spec = jsonb_set(spec, '{limits,memory}', '1')",
    ],
    "a trial was suggested before the range test of its search had ended": [
        "UPDATE search SET spec = jsonb_set(spec, '{search,range_test}', 'true')",
    ],
    "a search opened before one whose seconds it may spend had ended": ["UPDATE search SET match_ids = ARRAY[id]"],
    "a second round left the budget as it was": [
        "UPDATE search SET round = 2",
        "UPDATE search SET budget = budget + 1",
    ],
    "a search was decided before its confirmations had ended": [f"{DECIDE}; {CONFIRM}"],
    "a search has more trials than its budget": ["UPDATE search SET budget = 2"],
    "a search was decided on something else than its best complete trial, or the two best that were confirmed": [
        f"UPDATE trial SET {BETTER} WHERE ordinal = 1; {DECIDE}",
        f"UPDATE trial SET {BETTER} WHERE ordinal > 0; {DECIDE}; {CONFIRM}",
    ],
    "a result names a checkpoint that is not stored": ["DELETE FROM artifact"],
}
# The same for what is compared with Optuna's tables and with the files.
ELSEWHERE = {
    "I4: study": [
        "UPDATE trial SET value = 0.9 WHERE state = 'complete'",
        "UPDATE trial SET state = 'complete', value = 0.4, finished_at = now() WHERE state = 'running'",
        "DELETE FROM trial WHERE ordinal = 1",
        "DELETE FROM optuna.trials WHERE number = 1",
        (
            f"INSERT INTO optuna.trials (trial_id, number, study_id, state) {TOLD_AGAIN};"
            f"INSERT INTO optuna.trial_user_attributes (trial_id, key, value_json) {ATTRIBUTES_AGAIN};"
            f"INSERT INTO optuna.trial_values (trial_id, objective, value, value_type) {VALUES_AGAIN}"
        ),
        "UPDATE optuna.studies SET study_name = 'another'",
    ],
    "I4: Optuna has a study": ["INSERT INTO optuna.studies (study_name) VALUES ('foreign')"],
    "I5: artifact": ["UPDATE artifact SET size = size + 1", "UPDATE artifact SET sha256 = repeat('a', 64)"],
}
SEEN = [(seen, damage) for seen, damages in (DAMAGE | ELSEWHERE).items() for damage in damages]


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


def test_every_query_is_shown_to_find_something() -> None:
    assert DAMAGE.keys() == QUERIES.keys()


@pytest.mark.parametrize(("violation", "damage"), SEEN)
def test_damage_is_seen(world: World, violation: str, damage: str) -> None:
    assert found(world) == ""
    with world.store.transaction() as tx:
        connection = tx.connection
        connection.exec_driver_sql("SET session_replication_role = replica")
        connection.exec_driver_sql(f"SET search_path = stagetune; {damage}")
        connection.commit()
        connection.exec_driver_sql("SET session_replication_role = DEFAULT")
    assert any(line.startswith(violation) for line in found(world).splitlines())


def test_files_without_rows_and_damaged_ones_are_seen(world: World) -> None:
    (artifact,) = (world.home / "artifacts").glob("??/*")
    stray = artifact.with_name("f" * 64)
    stray.write_bytes(b"stray")
    artifact.write_bytes(artifact.read_bytes()[:-1] + b"\xff")
    lines = found(world)
    assert f"{stray.name} has a file and no row" in lines
    assert "is not what its name says" in lines


def test_secrets_in_logs_are_seen_wherever_they_stand(world: World) -> None:
    log = world.home / "server.log"
    token = world.call("POST", "/v1/tokens", {"name": "a reader", "scope": "read"}, scope="admin").json()["token"]
    code = world.call("POST", "/v1/login-codes", scope="admin").json()["code"]
    session = log_in(world.store, world.call("POST", "/v1/login-codes", scope="admin").json()["code"], hours=1)
    secrets = {"token": token, "login_code": code, "session": session}
    for table, secret in secrets.items():
        for text in (secret, f"GET /?code={secret}&x", f"Cookie: stagetune_session={secret}", f"before_{secret}-after"):
            log.write_text(f"{text}\n")
            assert found(world) == f"I8: server.log has the secret of a {table}"
    log.write_bytes(b"Bearer " + world.settings.worker_token_file.read_bytes())
    assert "I8: server.log has the secret of worker-token" in found(world)
    (world.home / "database.password").write_text("of the database")
    log.write_text("postgresql://stagetune:of the database@")
    assert found(world) == "I8: server.log has the secret of database.password"
    log.unlink()

    # As root PostgreSQL's own log lies outside of the home.
    world.run(f"DO $$ BEGIN RAISE LOG 'the code is {code}'; END $$")
    assert found(world) == "I8: postgres.log has the secret of a login_code"
    world.run("DELETE FROM login_code")
    assert found(world) == ""
