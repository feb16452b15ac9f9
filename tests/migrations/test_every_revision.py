"""R20: a database of any earlier revision, with a life behind it, comes to the head whole, even through a kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import psycopg2
import pytest
from alembic.script import ScriptDirectory

from service.domain.states import ExperimentState, Schedule
from service.storage import Storage
from service.storage.migrations import current, downgrade, head, scripts, upgrade
from service.tuning.projection import StudyProjection
from service.usecases.build_report import build_report
from service.usecases.project_studies import project_studies
from tests.invariants import rows, violations
from tests.service.lab import TREE, Lab

REPOSITORY = Path(__file__).parents[2]
EARLIER = [script.revision for script in ScriptDirectory(str(scripts())).walk_revisions() if script.revision != head()]
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = '{}' ORDER BY table_name"


# What a version wrote that a later one writes differently, or not at all: downgrades do not bring it about.
_MORE = "'scheme', 'pruner', 'range_test', 'second_round', 'confirm_seeds', 'every_seed'"
_SEARCH = f"(spec -> 'search') - ARRAY[{_MORE}, 'learning_rate_factor', 'regularization_factor']"
_SPEC = f"""jsonb_set(jsonb_set(spec, '{{search}}', {_SEARCH}),
    '{{recipe}}', (spec -> 'recipe') - ARRAY['objective', 'cached_features', 'schedule'])"""
_PLANNED = "({} - ARRAY['seed', 'objective', 'segments', 'matches'])"
_VARIANT = "v - 'paths' || jsonb_build_object('path', v #> '{paths,0}')"
WRITTEN = {
    "0001": f"""
        UPDATE experiment SET spec = {_SPEC}, plan = plan - ARRAY['least_trials', 'range_tests', 'confirmations']
            || jsonb_build_object('variants', (
                SELECT jsonb_agg({_VARIANT} ORDER BY n)
                FROM jsonb_array_elements(plan -> 'variants') WITH ORDINALITY AS e(v, n)))
            || jsonb_build_object('searches', (
                SELECT jsonb_agg({_PLANNED.format("p")} ORDER BY n)
                FROM jsonb_array_elements(plan -> 'searches') WITH ORDINALITY AS e(p, n)));
        UPDATE search SET spec = {_SPEC}, planned = {_PLANNED.format("planned")};
        UPDATE task SET work = work - ARRAY['segments', 'pruned', 'learning_rates', 'rate_steps', 'embedding'];
    """,
}
# Until revision 0006 nobody knew whose they were.
LOGINS = """
    INSERT INTO login_code (hash, expires_at) VALUES ('a', now() + interval '1 hour');
    INSERT INTO session (hash, expires_at) VALUES ('a', now() + interval '1 hour');
"""
WITH_LOGINS = ("0001", "0002", "0003", "0004", "0005")
# Columns in which a later version writes what an earlier one wrote otherwise.
REWRITTEN = {("experiment", "plan")}


def contents(url: str, schema: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, by the names of its columns."""
    found: dict[str, list[dict[str, Any]]] = {}
    for (name,) in rows(url, TABLES.format(schema)):
        listed = rows(url, f'SELECT to_jsonb(t) FROM {schema}."{name}" t ORDER BY CAST(t AS text)')
        found[str(name)] = [dict(cast(dict[str, Any], row[0])) for row in listed]
    return found


def within(table: str, listed: list[dict[str, Any]], columns: set[str]) -> list[str]:
    """What the rows say in some columns, in an order that the others have no part in."""
    kept = sorted(column for column in columns if (table, column) not in REWRITTEN)
    return sorted(json.dumps([row[column] for column in kept]) for row in listed)


@pytest.fixture
def lived_in(database_url: str) -> str:
    """A database with a finished experiment and one under way, both shown in Optuna's tables."""
    store = Storage.connect(database_url, pool_size=4)
    projection = StudyProjection(database_url)
    lab = Lab(store)
    worker = lab.worker()
    lab.drive(lab.submit(TREE, seeds=[3, 7]), worker)
    lab.submit({"Z": ["Conv-3-8 Pool-2"]}, seeds=[5])
    lab.plan()
    lab.take(worker)
    project_studies(store, projection.sync)
    projection.close()
    store.close()
    return database_url


@pytest.mark.parametrize("revision", EARLIER)
def test_a_lived_in_database_comes_to_the_head_whole_and_goes_on(lived_in: str, revision: str) -> None:
    told = contents(lived_in, "optuna")
    downgrade(lived_in, revision)
    with psycopg2.connect(lived_in.replace("+psycopg2", "", 1)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET search_path = stagetune; {WRITTEN.get(revision, '')}")
        if revision in WITH_LOGINS:
            cursor.execute(LOGINS)
    connection.close()
    old = contents(lived_in, "stagetune")
    assert old["trial"], "there is something to carry over"

    upgrade(lived_in)

    new = contents(lived_in, "stagetune")
    for table in set(old) & set(new) - {"alembic_version"}:
        gone = table in ("login_code", "session") and revision in WITH_LOGINS
        columns = {column for row in old[table] for column in row} & {column for row in new[table] for column in row}
        assert within(table, new[table], columns) == ([] if gone else within(table, old[table], columns)), table
    assert contents(lived_in, "optuna") == told
    assert violations(lived_in) == []
    # What names no schedule was trained without one.
    goes_on(lived_in, Schedule.CONSTANT if revision in WRITTEN else Schedule.COSINE)


def goes_on(url: str, schedule: Schedule) -> None:
    """What had ended can be read, and what had not comes to its end."""
    store = Storage.connect(url, pool_size=4)
    lab = Lab(store)
    states = {row.state: row.id for row in lab.rows("SELECT id, state FROM experiment")}
    report = build_report(store, states["finished"])
    assert report.variants
    assert report.recipe.schedule is schedule
    worker, request = lab.rows("SELECT worker_id, request_id FROM attempt WHERE outcome IS NULL")[0]
    lease = lab.lease(worker, request)
    assert lease is not None
    lab.finish(lease)
    lab.drive(states["running"], worker)
    assert lab.state(states["running"]) is ExperimentState.FINISHED
    store.close()


@pytest.mark.parametrize("revision", EARLIER)
def test_a_migration_killed_half_way_has_not_happened(lived_in: str, revision: str) -> None:
    downgrade(lived_in, revision)
    old = contents(lived_in, "stagetune")
    blocker = psycopg2.connect(lived_in.replace("+psycopg2", "", 1))
    with blocker.cursor() as cursor:
        # It may do all that a revision does, but for writing down that it has.
        cursor.execute("LOCK TABLE stagetune.alembic_version IN SHARE MODE")
    command = "import sys; from service.storage.migrations import upgrade; upgrade(sys.argv[1])"
    migrating = subprocess.Popen([sys.executable, "-c", command, lived_in], cwd=REPOSITORY)
    waiting = "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database()"
    deadline = time.monotonic() + 60
    while not rows(lived_in, f"{waiting} AND NOT l.granted AND l.locktype = 'relation'"):
        assert migrating.poll() is None, "the migration waited for nothing"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # Tables if it may alter some, and otherwise rows.
    changes = "l.granted AND l.mode IN ('AccessExclusiveLock', 'RowExclusiveLock')"
    assert rows(lived_in, f"{waiting} AND {changes}"), "it has changed something"
    os.kill(migrating.pid, signal.SIGKILL)
    migrating.wait()
    blocker.close()

    assert current(lived_in) == revision
    assert contents(lived_in, "stagetune") == old
    upgrade(lived_in)
    assert current(lived_in) == head()
    assert violations(lived_in) == []
