"""R20: a database of any earlier revision, with a life behind it, comes to the head whole, even through a kill -9."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest
from alembic.script import ScriptDirectory

from service.storage import Storage
from service.storage.migrations import current, downgrade, head, scripts, upgrade
from service.tuning.projection import StudyProjection
from service.usecases.project_studies import project_studies
from tests.invariants import rows, violations
from tests.service.lab import TREE, Lab

REPOSITORY = Path(__file__).parents[2]
EARLIER = [script.revision for script in ScriptDirectory(str(scripts())).walk_revisions() if script.revision != head()]
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = '{}' ORDER BY table_name"


def contents(url: str, schema: str) -> dict[str, list[str]]:
    """Every row of every table, as PostgreSQL writes it."""
    return {
        str(name): [str(row[0]) for row in rows(url, f'SELECT CAST(t AS text) FROM {schema}."{name}" t ORDER BY 1')]
        for (name,) in rows(url, TABLES.format(schema))
    }


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
def test_a_lived_in_database_comes_to_the_head_whole(lived_in: str, revision: str) -> None:
    told = contents(lived_in, "optuna")
    downgrade(lived_in, revision)
    old = contents(lived_in, "stagetune")
    assert old["trial"], "there is something to carry over"

    upgrade(lived_in)

    new = contents(lived_in, "stagetune")
    kept = set(old) & set(new) - {"alembic_version"}
    assert {name: len(new[name]) for name in kept} == {name: len(old[name]) for name in kept}
    assert contents(lived_in, "optuna") == told
    assert violations(lived_in) == []


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
    assert rows(lived_in, f"{waiting} AND l.granted AND l.mode = 'AccessExclusiveLock'"), "it has changed something"
    os.kill(migrating.pid, signal.SIGKILL)
    migrating.wait()
    blocker.close()

    assert current(lived_in) == revision
    assert contents(lived_in, "stagetune") == old
    upgrade(lived_in)
    assert current(lived_in) == head()
    assert violations(lived_in) == []
