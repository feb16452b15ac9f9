"""What must hold in the database after any test, whatever was killed: one checker for all of them."""

from collections.abc import Iterator

import optuna
import psycopg2

# Each query lists violations.
QUERIES = {
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


def violations(database_url: str) -> list[str]:
    """Every invariant that does not hold, a line each."""
    return [*_in_our_tables(database_url), *_against_optuna(database_url)]


def studies_url(database_url: str) -> str:
    """The URL under which a stranger opens the studies."""
    separator = "&" if "?" in database_url else "?"
    return f"{database_url}{separator}options=-csearch_path%3Doptuna"


def _in_our_tables(database_url: str) -> Iterator[str]:
    with psycopg2.connect(database_url.replace("+psycopg2", "", 1)) as connection, connection.cursor() as cursor:
        for violated, query in QUERIES.items():
            cursor.execute(query)
            for row in cursor.fetchall():
                yield f"{violated}: {row[0]}"
    connection.close()


def _against_optuna(database_url: str) -> Iterator[str]:
    ours: dict[str, dict[str, tuple[str, float | None]]] = {}
    with psycopg2.connect(database_url.replace("+psycopg2", "", 1)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.name, t.id, t.state, t.value FROM stagetune.search s JOIN stagetune.trial t ON t.search_id = s.id"
        )
        for name, trial, state, value in cursor.fetchall():
            ours.setdefault(name, {})[str(trial)] = (state, value)
    connection.close()
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "cancelled": "FAIL", "running": "RUNNING"}
    for name, trials in ours.items():
        study = optuna.load_study(study_name=name, storage=studies_url(database_url))
        # A trial that was tried anew has a picture for every chance; those before the last have failed.
        pictures = sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.user_attrs.get("chance", 0))
        shown = {trial.user_attrs.get("stagetune_trial"): trial for trial in pictures}
        past = [trial for trial in pictures if trial is not shown[trial.user_attrs.get("stagetune_trial")]]
        chances = sum(trial.user_attrs.get("chance", 0) for trial in shown.values())
        if len(past) > chances or any(trial.state.name != "FAIL" for trial in past) or set(shown) != set(trials):
            yield f"study {name} shows {len(study.trials)} trials, we have {len(trials)}"
            continue
        for identifier, (state, value) in trials.items():
            theirs = shown[identifier]
            if theirs.state.name != states[state] or (state == "complete" and theirs.value != value):
                yield f"study {name}: trial {identifier} is {theirs.state.name} {theirs.values}, ours {state} {value}"
