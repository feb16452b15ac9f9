"""Our searches in Optuna's own tables, for optuna-dashboard and for anyone who opens them with Optuna.

Our rows are the truth and these tables their picture: nothing is ever read back from them, and a picture that is
missing or behind is drawn again. Trials are found by our id among their user attributes, never by number.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from threading import Lock, local
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg2
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState
from psycopg2.extensions import connection

from service.domain.projection import ProjectedStudy, ProjectedTrial, StudyRefused
from service.domain.states import TrialState
from service.failpoints import reach
from service.postgres import silence
from service.tuning.distributions import distributions, parameters
from service.tuning.doubt import check_before_new_trials, first_line, never_repeat_in_doubt, unreachable

logger = logging.getLogger(__name__)

SCHEMA = "optuna"
TRIAL_ATTR = "stagetune_trial"
CHANCE_ATTR = "chance"
# As for our own tables: a stuck lock is an error that is tried again, and a silent peer is noticed.
SESSION = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    **silence.THEIRS,
}
CONNECTION = {"application_name": "stagetune-optuna", "connect_timeout": 5, **silence.OURS}
# The driver's words for a connection that is gone, a time limit and a server that takes no writes; its others speak of
# the statement.
_UNREACHABLE = (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.errors.ReadOnlySqlTransaction)
STATES = {
    TrialState.RUNNING: OptunaState.RUNNING,
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.CANCELLED: OptunaState.FAIL,
}


def optuna_url(url: str) -> str:
    """The address under which Optuna finds the studies in the service's database: its tables are in a schema apart."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query["options"] = f"{query.get('options', '')} -csearch_path={SCHEMA}".strip()
    named = parts._replace(scheme="postgresql+psycopg2", query=urlencode(query, quote_via=quote))
    # Optuna takes the address for a format string.
    return urlunsplit(named).replace("{", "%7B").replace("}", "%7D")


class StudyProjection:
    """Draws searches as Optuna studies into the schema ``optuna``, which the migrations have created.

    Every method may raise DatabaseUnavailable, or StudyRefused for what no repetition makes good. Safe to use from
    several threads and servers at once.
    """

    def __init__(self, url: str, *, pool_size: int = 6) -> None:
        self._url = optuna_url(url)
        options = dict(parse_qsl(urlsplit(self._url).query))["options"]
        limits = " ".join(f"-c{name}={value}" for name, value in SESSION.items())
        self._arguments: dict[str, Any] = {**CONNECTION, "options": f"{options} {limits}"}
        self._pool_size = pool_size
        self._opening = Lock()
        self._holding = local()
        self._storage: RDBStorage | None = None

    @property
    def storage(self) -> RDBStorage:
        """Optuna's storage, opened at the first use."""
        self.prepare()
        assert self._storage is not None
        return self._storage

    def prepare(self) -> None:
        """Create Optuna's tables unless they are there; servers that start together take turns."""
        with self._opening:
            if self._storage is None:
                with self._alone("tables"):
                    pool = {"pool_size": self._pool_size, "max_overflow": 0, "pool_timeout": 10, "pool_pre_ping": True}
                    storage = RDBStorage(self._url, {**pool, "connect_args": self._arguments})
                    never_repeat_in_doubt(storage)
                    check_before_new_trials(storage, self._check_alone)
                    self._storage = storage

    def sync(self, name: str, read: Callable[[], ProjectedStudy]) -> ProjectedStudy:
        """Make the study of that name show its trials, and return it; what already does is left alone.

        It is read once nobody else draws it. Trials of ours that are not in it any more become FAIL. A trial that
        somebody else has finished cannot be mended in Optuna: it is logged and stays.
        """
        storage = self.storage
        with self._alone(name) as alone, self._drawing(alone):
            _wait_for_writers(alone, name)
            study = read()
            study_id = _study_id(storage, study)
            shown, strays = _ours(storage.get_all_trials(study_id, deepcopy=False), study)
            # Whoever draws after us has drawn nothing of that yet: strays are strays.
            self._check_alone()
            for trial in sorted(study.trials, key=lambda trial: trial.ordinal):
                target = _target(study, trial)
                if trial.id not in shown:
                    storage.create_new_trial(study_id, target)
                elif shown[trial.id].state.is_finished():
                    _log_differences(study, trial, shown[trial.id], target)
                else:
                    self._check_alone()
                    with _unless_finished(study, shown[trial.id]):
                        _update(storage, shown[trial.id], target)
            for stray in strays:
                if not stray.state.is_finished():
                    with _unless_finished(study, stray):
                        storage.set_trial_state_values(stray._trial_id, OptunaState.FAIL)
        return study

    def drop(self, name: str) -> None:
        """Delete a study with its trials; one that is not there is no error."""
        storage = self.storage
        with self._alone(name), suppress(KeyError):
            storage.delete_study(storage.get_study_id_from_name(name))

    def check(self, *studies: ProjectedStudy) -> tuple[str, ...]:
        """What Optuna's tables show otherwise than our rows do, a line each."""
        storage, lines = self.storage, list[str]()
        for study in studies:
            with _translated():
                try:
                    study_id = storage.get_study_id_from_name(study.name)
                except KeyError:
                    lines.append(f"study {study.name} is missing")
                    continue
                shown, strays = _ours(storage.get_all_trials(study_id, deepcopy=False), study)
            for trial in study.trials:
                there = shown.get(trial.id)
                faults = ["is missing"] if there is None else _differences(there, _target(study, trial))
                lines += [f"study {study.name}: trial {trial.ordinal} {fault}" for fault in faults]
            lines += [
                f"study {study.name}: Optuna's trial {stray.number} runs without a row of ours"
                for stray in strays
                if not stray.state.is_finished()
            ]
        return tuple(lines)

    def close(self) -> None:
        """Close the pool's connections; the next use opens them again."""
        with self._opening:
            if self._storage is not None:
                self._storage.engine.dispose()
                self._storage = None

    @contextmanager
    def _alone(self, name: str) -> Iterator[connection]:
        """Hold the advisory lock ``name`` on a connection apart, so that waiting for it takes none from the pool."""
        address = self._url.replace("+psycopg2", "", 1)
        with _translated(), closing(psycopg2.connect(address, **self._arguments)) as alone:
            alone.autocommit = True
            with alone.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"stagetune:optuna:{name}",))
            yield alone  # closing the connection gives the lock back

    @contextmanager
    def _drawing(self, alone: connection) -> Iterator[None]:
        """While this thread draws under the lock of that connection, which is looked at before every new trial."""
        self._holding.alone = alone
        try:
            yield
        finally:
            self._holding.alone = None

    def _check_alone(self) -> None:
        """A lock goes with its connection, while the pool replaces its own without a word: PostgreSQL was restarted.

        Before a new trial the study's row is locked by now: should the lock be lost from here on, its next holder waits
        for this trial. (A failover that leaves sessions behind on the old server goes unseen.)
        """
        alone: connection | None = getattr(self._holding, "alone", None)
        if alone is not None:
            with alone.cursor() as cursor:
                cursor.execute("SELECT 1")


def _wait_for_writers(alone: connection, name: str) -> None:
    """Wait for what a server that lost its connection may still be committing: writers lock the study's row."""
    with alone.cursor() as cursor:
        cursor.execute("SELECT FROM studies WHERE study_name = %s FOR UPDATE", (name,))


def _study_id(storage: RDBStorage, study: ProjectedStudy) -> int:
    try:
        study_id = storage.get_study_id_from_name(study.name)
    except KeyError:
        study_id = storage.create_new_study([StudyDirection.MAXIMIZE], study.name)
    known = storage.get_study_user_attrs(study_id)
    for key, value in study.user_attrs.items():
        if known.get(key) != value:
            storage.set_study_user_attr(study_id, key, value)
    return study_id


def _ours(trials: Iterable[FrozenTrial], study: ProjectedStudy) -> tuple[dict[str, FrozenTrial], list[FrozenTrial]]:
    """Optuna's trials by our ids, and those that carry an id of ours without being the picture of a row as it is.

    Trials without such an id are somebody's own experiments and none of our business.
    """
    rows = {(trial.id, trial.chance) for trial in study.trials}
    by_id: defaultdict[tuple[str, int], list[FrozenTrial]] = defaultdict(list)
    for trial in trials:
        if TRIAL_ATTR in trial.user_attrs:
            by_id[trial.user_attrs[TRIAL_ATTR], trial.user_attrs.get(CHANCE_ATTR, 0)].append(trial)
    shown = {key: found[0] for (key, chance), found in by_id.items() if (key, chance) in rows}
    strays = [trial for (key, _), found in by_id.items() for trial in found if trial is not shown.get(key)]
    return shown, strays


def _target(study: ProjectedStudy, trial: ProjectedTrial) -> FrozenTrial:
    """The trial as Optuna shall have it.

    A diverged trial is COMPLETE at chance accuracy, for the samplers' sake; the violated constraint keeps it from
    being Optuna's best trial, as it is never our incumbent.
    """
    state = STATES[trial.state]
    target = create_trial(
        state=state,
        value=trial.value if state in (OptunaState.COMPLETE, OptunaState.PRUNED) else None,
        params=parameters(trial.point),
        distributions=distributions(study.space),
        user_attrs={
            TRIAL_ATTR: trial.id,
            "ordinal": trial.ordinal,
            "origin": str(trial.origin),
            **({"diverged": True} if trial.diverged else {}),
            **({CHANCE_ATTR: trial.chance} if trial.chance else {}),
        },
        intermediate_values=dict(trial.reports),
        constraints={"diverged": 1.0} if trial.diverged else None,
    )
    target.datetime_start = _local(trial.suggested_at)
    if state.is_finished():
        target.datetime_complete = _local(trial.finished_at or trial.suggested_at)
    return target


def _local(moment: datetime) -> datetime:
    """Optuna writes ``datetime.now()``: local and naive."""
    return moment.astimezone().replace(tzinfo=None)


def _update(storage: RDBStorage, shown: FrozenTrial, target: FrozenTrial) -> None:
    """Bring a running trial up to date. Its state comes last: Optuna lets nobody change a finished one."""
    trial_id = shown._trial_id
    for key, value in target.user_attrs.items():
        if shown.user_attrs.get(key) != value:
            storage.set_trial_user_attr(trial_id, key, value)
    for key, value in target.system_attrs.items():
        if shown.system_attrs.get(key) != value:
            storage.set_trial_system_attr(trial_id, key, value)
    for step, value in target.intermediate_values.items():
        if shown.intermediate_values.get(step) != value:
            storage.set_trial_intermediate_value(trial_id, step, value)
    if target.state.is_finished():
        reach("during-tell")
        storage.set_trial_state_values(trial_id, target.state, target.values)


@contextmanager
def _unless_finished(study: ProjectedStudy, shown: FrozenTrial) -> Iterator[None]:
    try:
        yield
    except UpdateFinishedTrialError:
        logger.warning("somebody else finished trial %d of study %s in Optuna", shown.number, study.name)


def _log_differences(study: ProjectedStudy, trial: ProjectedTrial, shown: FrozenTrial, target: FrozenTrial) -> None:
    for difference in _differences(shown, target):
        logger.warning(
            "somebody else changed the study %s in Optuna: trial %d %s", study.name, trial.ordinal, difference
        )


def _differences(shown: FrozenTrial, target: FrozenTrial) -> list[str]:
    pairs = [
        ("state", shown.state.name, target.state.name),
        ("values", shown.values, target.values),
        ("parameters", shown.params, target.params),
        # Steps of an attempt that was lost cannot be taken back in Optuna; those of the accepted one count.
        (
            "reports",
            {step: shown.intermediate_values.get(step) for step in target.intermediate_values},
            target.intermediate_values,
        ),
    ]
    return [f"has {name} {found} instead of {wanted}" for name, found, wanted in pairs if found != wanted]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (psycopg2.Error, StorageInternalError) as error:
        # Optuna hides what the driver said in SQLAlchemy's error, and that one behind its own.
        said = getattr(error.__cause__, "orig", None) if isinstance(error, StorageInternalError) else error
        if isinstance(said, psycopg2.Error) and not isinstance(said, _UNREACHABLE):
            raise StudyRefused(f"Optuna's tables do not take it: {first_line(said)}") from error
        raise unreachable(said or error) from error
