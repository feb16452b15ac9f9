"""What must hold in the database after any test, whatever was killed: one checker for all of them.

The numbers I1 to I8 are those of docs/reliability.md.
"""

import contextlib
import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2

from service.domain.access import fingerprint

# Each query lists violations: I1 to I3, I6, and what else the tables have to agree on.
QUERIES = {
    "I1: a trial goes on without a task that somebody can do": """
        SELECT tr.id FROM stagetune.trial tr LEFT JOIN stagetune.task t ON t.trial_id = tr.id
        WHERE tr.state = 'running' AND (t.id IS NULL OR t.state NOT IN ('ready', 'leased'))
    """,
    "I1: a trial has ended and its task has not": """
        SELECT tr.id FROM stagetune.trial tr JOIN stagetune.task t ON t.trial_id = tr.id
        WHERE tr.state <> 'running' AND t.state IN ('ready', 'leased')
    """,
    "I1: a search waits or goes on although no live experiment wants it": """
        SELECT s.id FROM stagetune.search s WHERE s.state IN ('waiting', 'open') AND NOT EXISTS (
            SELECT FROM stagetune.experiment_search es JOIN stagetune.experiment e ON e.id = es.experiment_id
            WHERE es.search_id = s.id AND e.state IN ('running', 'paused')
        )
    """,
    "I2: a result was accepted from an attempt that did not hold the lease": """
        SELECT r.task_id FROM stagetune.result r JOIN stagetune.attempt a ON a.task_id = r.task_id AND a.n = r.attempt
        WHERE a.outcome IS DISTINCT FROM 'accepted'
    """,
    "I3: an attempt began before the one before it had ended": """
        SELECT a.task_id FROM stagetune.attempt a JOIN stagetune.attempt b ON b.task_id = a.task_id AND b.n = a.n + 1
        WHERE a.ended_at IS NULL OR b.started_at < a.ended_at
    """,
    "I6: a task carries more strikes than it had attempts that were lost or crashed": """
        SELECT t.id FROM stagetune.task t WHERE t.strikes > (
            SELECT count(*) FROM stagetune.attempt a WHERE a.task_id = t.id
            AND a.outcome IN ('lost', 'failed') AND a.reason IN ('crashed', 'lost', 'out-of-memory')
        )
    """,
    "a task was done without exactly one accepted result": """
        SELECT t.id FROM stagetune.task t LEFT JOIN stagetune.result r ON r.task_id = t.id
        WHERE (t.state = 'done') <> (r.task_id IS NOT NULL)
    """,
    "a result was accepted from another attempt than the last": """
        SELECT r.task_id FROM stagetune.result r JOIN stagetune.task t ON t.id = r.task_id
        WHERE r.attempt <> t.attempt
    """,
    "a task has more than one accepted attempt": """
        SELECT task_id FROM stagetune.attempt WHERE outcome = 'accepted' GROUP BY task_id HAVING count(*) > 1
    """,
    "attempt numbers have gaps": """
        SELECT t.id FROM stagetune.task t
        LEFT JOIN LATERAL (
            SELECT count(*) AS made, coalesce(max(n), 0) AS last FROM stagetune.attempt a WHERE a.task_id = t.id
        ) a ON true
        WHERE a.made <> t.attempt OR a.last <> t.attempt
    """,
    "an attempt goes on without a lease": """
        SELECT a.task_id FROM stagetune.attempt a JOIN stagetune.task t ON t.id = a.task_id
        WHERE a.outcome IS NULL AND NOT (t.state = 'leased' AND t.attempt = a.n)
    """,
    "a finished trial and its task disagree": """
        SELECT tr.id FROM stagetune.trial tr JOIN stagetune.task t ON t.trial_id = tr.id
        WHERE (tr.state IN ('complete', 'pruned')) <> (t.state = 'done')
    """,
    "a task waits or goes on although its search has ended without incumbent": """
        SELECT t.id FROM stagetune.task t JOIN stagetune.search s ON s.id = t.search_id
        WHERE s.state IN ('dead', 'infeasible', 'cancelled') AND t.state IN ('ready', 'leased')
    """,
    "a trial runs although its search has ended": """
        SELECT t.id FROM stagetune.trial t JOIN stagetune.search s ON s.id = t.search_id
        WHERE s.state NOT IN ('waiting', 'open') AND t.state = 'running'
    """,
    "a search was infeasible without a limit or a trial that was beyond it": """
        SELECT s.id FROM stagetune.search s
        WHERE s.state = 'infeasible' AND (s.spec #>> '{limits,memory}' IS NULL OR NOT EXISTS (
            SELECT FROM stagetune.trial t
            WHERE t.search_id = s.id AND t.state = 'failed' AND t.failure LIKE 'memory-limit%'
        ))
    """,
    "a trial was suggested before the range test of its search had ended": """
        SELECT tr.id FROM stagetune.trial tr JOIN stagetune.search s ON s.id = tr.search_id
        WHERE s.spec #>> '{search,range_test}' = 'true' AND NOT EXISTS (
            SELECT FROM stagetune.task t WHERE t.search_id = s.id AND t.kind = 'range-test'
            AND t.state IN ('done', 'failed') AND t.finished_at <= tr.suggested_at
        )
    """,
    "a search opened before one whose seconds it may spend had ended": """
        SELECT s.id FROM stagetune.search s JOIN stagetune.search m ON m.id = ANY(s.match_ids)
        WHERE s.state = 'open' AND m.state IN ('waiting', 'open')
    """,
    "a second round left the budget as it was": """
        SELECT id FROM stagetune.search
        WHERE (round = 2) <> (budget > CAST(planned #>> '{budget,trials}' AS integer))
    """,
    "a search was decided before its confirmations had ended": """
        SELECT t.id FROM stagetune.task t JOIN stagetune.search s ON s.id = t.search_id
        WHERE t.candidate_id IS NOT NULL AND s.state = 'decided' AND t.state IN ('ready', 'leased')
    """,
    "a search has more trials than its budget": """
        SELECT s.id FROM stagetune.search s JOIN stagetune.trial t ON t.search_id = s.id
        GROUP BY s.id, s.budget HAVING count(*) > s.budget
    """,
    "a search was decided on something else than its best complete trial, or the two best that were confirmed": """
        SELECT s.id FROM stagetune.search s JOIN stagetune.trial i ON i.id = s.incumbent_id
        WHERE (
            SELECT count(*) FROM stagetune.trial o WHERE o.search_id = s.id AND o.state = 'complete' AND NOT o.diverged
            AND (o.value, -o.ordinal) > (i.value, -i.ordinal)
        ) > (
            SELECT count(*) FROM (SELECT FROM stagetune.task t WHERE t.candidate_id = i.id LIMIT 1) confirmed
        )
    """,
    "a result names a checkpoint that is not stored": """
        SELECT r.task_id FROM stagetune.result r LEFT JOIN stagetune.artifact a ON a.sha256 = r.checkpoint
        WHERE r.checkpoint IS NOT NULL AND a.sha256 IS NULL
    """,
}

# What Optuna's own tables say, read without Optuna: a study without trials has one row without a state.
TOLD = """
    SELECT s.study_name, CAST(t.state AS text), a.value_json, v.value, CAST(coalesce(c.value_json, '0') AS integer)
    FROM optuna.studies s LEFT JOIN optuna.trials t ON t.study_id = s.study_id
    LEFT JOIN optuna.trial_user_attributes a ON a.trial_id = t.trial_id AND a.key = 'stagetune_trial'
    LEFT JOIN optuna.trial_user_attributes c ON c.trial_id = t.trial_id AND c.key = 'chance'
    LEFT JOIN optuna.trial_values v ON v.trial_id = t.trial_id
    ORDER BY 5
"""


def all_shown(database_url: str) -> bool:
    """Whether Optuna's tables have caught up with ours; they are drawn by a thread of its own."""
    behind = """
        SELECT FROM stagetune.trial WHERE projected IS DISTINCT FROM state
        UNION ALL SELECT FROM stagetune.search WHERE NOT projected LIMIT 1
    """
    return not rows(database_url, behind)


def settled_violations(database_url: str) -> list[str]:
    """The violations once Optuna's tables have caught up with a server that is at work."""
    deadline = time.monotonic() + 60
    while not all_shown(database_url):
        assert time.monotonic() < deadline, "nobody draws the studies"
        time.sleep(0.05)
    return violations(database_url)


def violations(database_url: str, home: Path | None = None, artifacts: Path | None = None) -> list[str]:
    """Every invariant that does not hold, a line each.

    The server's ``home`` adds its artifacts, unless they lie in a folder of their own, and all logs: those in the home
    and PostgreSQL's, which may lie elsewhere.
    """
    found = [*_in_our_tables(database_url), *_against_optuna(database_url)]
    if home is not None:
        found += [*_in_artifacts(database_url, artifacts or home / "artifacts"), *_secrets_in_logs(database_url, home)]
    return found


def studies_url(database_url: str) -> str:
    """The URL under which a stranger opens the studies."""
    separator = "&" if "?" in database_url else "?"
    return f"{database_url}{separator}options=-csearch_path%3Doptuna"


def rows(database_url: str, query: str) -> list[tuple[object, ...]]:
    """What a query returns, over a connection of its own."""
    with _reading(database_url) as cursor:
        cursor.execute(query)
        return cursor.fetchall()


@contextlib.contextmanager
def _reading(database_url: str) -> Iterator[psycopg2.extensions.cursor]:
    connection = psycopg2.connect(database_url.replace("+psycopg2", "", 1))
    with contextlib.closing(connection), connection.cursor() as cursor:
        yield cursor


def _in_our_tables(database_url: str) -> Iterator[str]:
    with _reading(database_url) as cursor:
        for violated, query in QUERIES.items():
            cursor.execute(query)
            yield from (f"{violated}: {row[0]}" for row in cursor.fetchall())


def _against_optuna(database_url: str) -> Iterator[str]:
    """I4 and I7: each trial is told once, in its state and with its value, and Optuna has no others."""
    ours: dict[str, dict[str, tuple[str, float | None]]] = {}
    trials = (
        "SELECT s.name, t.id, t.state, t.value FROM stagetune.search s JOIN stagetune.trial t ON t.search_id = s.id"
    )
    for name, trial, state, value in rows(database_url, trials):
        assert value is None or isinstance(value, float)
        ours.setdefault(str(name), {})[str(trial)] = (str(state), value)
    kept = "SELECT name FROM stagetune.search UNION SELECT name FROM stagetune.purged_study"
    known = {str(name) for (name,) in rows(database_url, kept)}
    if rows(database_url, "SELECT to_regclass('optuna.studies')")[0][0] is None:
        yield from (f"I4: study {name} is missing" for name in ours)
        return
    studies: dict[str, list[tuple[str, str, float | None, int]]] = {}
    for name, state, identifier, value, chance in rows(database_url, TOLD):
        assert value is None or isinstance(value, float)
        assert isinstance(chance, int)
        told = studies.setdefault(str(name), [])
        if state is not None:
            told.append((str(identifier).strip('"'), str(state), value, chance))
    yield from (f"I4: Optuna has a study {name} that no search has" for name in set(studies) - known)
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "cancelled": "FAIL", "running": "RUNNING"}
    for name, expected in ours.items():
        if name not in studies:
            yield f"I4: study {name} is missing"
            continue
        told = studies[name]
        # A trial that was tried anew has a picture for every chance, the last one last; those before it have failed.
        shown = {identifier: (state, value) for identifier, state, value, _ in told}
        chances = {identifier: chance for identifier, _, _, chance in told}
        past = [state for identifier, state, _, chance in told if chance < chances[identifier]]
        alone = len(told) - len(past) == len(shown) and len(past) <= sum(chances.values())
        if not alone or set(past) - {"FAIL"} or set(shown) != set(expected):
            yield f"I4: study {name} shows {len(told)} trials, we have {len(expected)}"
            continue
        for identifier, (state, value) in expected.items():
            theirs = shown[identifier]
            if theirs[0] != states[state] or (state == "complete" and theirs[1] != value):
                yield f"I4: study {name}: trial {identifier} is {theirs}, ours {state} {value}"


def _in_artifacts(database_url: str, folder: Path) -> Iterator[str]:
    """I5: what a row promises is there, whole, and there is nothing else."""
    stored = rows(database_url, "SELECT sha256, size FROM stagetune.artifact WHERE stored")
    announced = rows(database_url, "SELECT sha256 FROM stagetune.artifact WHERE NOT stored")
    promised = {str(digest): size for digest, size in stored}
    files = {path.name: path for path in folder.glob("[0-9a-f][0-9a-f]/*") if path.is_file()}
    for digest, size in promised.items():
        path = files.pop(digest, None)
        if path is None:
            yield f"I5: artifact {digest} has a row and no file"
        elif path.stat().st_size != size:
            yield f"I5: artifact {digest} has {path.stat().st_size} bytes, its row says {size}"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            yield f"I5: artifact {digest} is not what its name says"
    yield from (f"I5: artifact {digest} has a file and no row" for digest in files if (digest,) not in announced)


# Tokens by their form; login codes and sessions are 24 and 32 random bytes in base64, with whatever stands around them.
_TOKEN = re.compile(r"stagetune_[a-z]+_[\w-]{43}", re.ASCII)
_WORD = re.compile(r"[\w-]{32,}", re.ASCII)
_LENGTHS = (32, 43)


def _secrets_in_logs(database_url: str, home: Path) -> Iterator[str]:
    """I8: no password of this home, and nothing that the database lets anybody in with, stands in a log."""
    holders = [*home.glob("*-token"), *home.glob("*.password")]
    secrets = {path.name: path.read_bytes().strip() for path in holders}
    known = {
        str(hashed): table
        for table in ("token", "login_code", "session")
        for (hashed,) in rows(database_url, f"SELECT hash FROM stagetune.{table}")
    }
    for log in [*sorted(home.rglob("*.log")), *_logs_of_postgres(database_url)]:
        content = log.read_bytes()
        yield from (f"I8: {log.name} has the secret of {name}" for name, secret in secrets.items() if secret in content)
        shown = {known.get(fingerprint(word)) for word in _secretive(content.decode(errors="replace"))}
        yield from (f"I8: {log.name} has the secret of a {table}" for table in sorted(filter(None, shown)))


def _secretive(text: str) -> Iterator[str]:
    """Whatever may be a token, a login code or a session, wherever in a word it begins."""
    yield from _TOKEN.findall(text)
    for word in set(_WORD.findall(text)):
        for length in _LENGTHS:
            yield from (word[start : start + length] for start in range(len(word) - length + 1))


def _logs_of_postgres(database_url: str) -> Iterator[Path]:
    """Those of the embedded server: beside its data, which as root lie outside the home."""
    where = rows(database_url, "SELECT setting FROM pg_settings WHERE name = 'data_directory'")
    for (data,) in where:
        yield from sorted(Path(str(data)).parent.glob("postgres.log*"))
