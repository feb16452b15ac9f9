"""A heartbeat with measurements is shown to the search's pruner."""

from service.domain.pruning import MeasuredTrial, PruningBrief
from service.domain.states import Pruner, TrialState
from service.storage.results import Measurement
from service.storage.tasks import LeasedTask
from service.usecases import look_up
from service.usecases.reap_leases import reap_leases
from service.usecases.renew_lease import Command, renew_lease
from tests.service.lab import LEASE, STRIKES, Lab


class Judge:
    """Ends every trial that has measured less than a half, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[PruningBrief, MeasuredTrial, tuple[MeasuredTrial, ...]]] = []

    def __call__(self, brief: PruningBrief, trial: MeasuredTrial, others: tuple[MeasuredTrial, ...]) -> bool:
        self.seen.append((brief, trial, others))
        return max(trial.reports)[1] < 0.5


def beat(lab: Lab, judge: Judge, lease: LeasedTask, *values: tuple[int, float]) -> Command:
    measurements = [Measurement(step, step / 10, value) for step, value in values]
    return renew_lease(lab.store, judge, lease.task, lease.attempt, LEASE, measurements).command


def test_a_trial_that_falls_behind_is_told_to_end(lab: Lab) -> None:
    lab.submit(search={"pruner": "median"})
    worker, judge = lab.worker(slots=2), Judge()
    lab.plan()
    first, second = lab.take(worker), lab.take(worker)
    assert first.work.pruned

    assert beat(lab, judge, first, (5, 0.6), (10, 0.7)) is Command.CONTINUE
    assert beat(lab, judge, second, (5, 0.1)) is Command.PRUNE
    assert beat(lab, judge, second) is Command.CONTINUE

    brief, trial, others = judge.seen[-1]
    assert (len(judge.seen), brief.pruner, brief.key) == (2, Pruner.MEDIAN, lab.value("SELECT key FROM search"))
    assert (trial.ordinal, trial.state, trial.reports) == (1, TrialState.RUNNING, ((5, 0.1),))
    assert [set(other.reports) for other in others] == [{(5, 0.6), (10, 0.7)}, set()]


def test_checkpointed_total_is_pruned_by_the_brackets_of_plain_total(lab: Lab) -> None:
    total = {"architecture": "A", "learning": "total"}
    lab.submit(
        {"A": ["Conv-3-4", "Conv-3-4"]},
        variants=[total, total | {"checkpointing": True}],
        search={"pruner": "hyperband"},
    )
    worker, judge = lab.worker(slots=6), Judge()
    lab.plan()
    while (lease := lab.lease(worker)) is not None:
        beat(lab, judge, lease, (5, 0.6))
    assert len(judge.seen) > 2
    plain = "SELECT key FROM search WHERE planned ->> 'draws' IS NULL"
    assert {brief.key for brief, _, _ in judge.seen} == {lab.value(plain)}
    assert len(lab.rows("SELECT DISTINCT search_id FROM trial WHERE state = 'running'")) == 2


def test_it_sees_what_every_attempt_measured_and_the_last_of_each_step(lab: Lab) -> None:
    lab.submit(search={"pruner": "asha"})
    worker, judge = lab.worker(), Judge()
    reap_leases(lab.store, LEASE, STRIKES, outage_seconds=60)
    lab.plan()
    lease = lab.take(worker)
    beat(lab, judge, lease, (5, 0.6), (10, 0.7))
    lab.expire(lease)
    reap_leases(lab.store, LEASE, STRIKES, outage_seconds=60)
    again = lab.take(worker)
    assert (again.task, again.attempt) == (lease.task, 2)
    beat(lab, judge, again, (10, 0.8))
    assert set(judge.seen[-1][1].reports) == {(5, 0.6), (10, 0.8)}


def test_steps_that_come_late_stand_where_they_belong(lab: Lab) -> None:
    experiment = lab.submit(search={"pruner": "median"})
    worker, judge = lab.worker(), Judge()
    lab.plan()
    lease = lab.take(worker)
    assert beat(lab, judge, lease, (10, 0.7), (30, 0.6)) is Command.CONTINUE
    # It went back: judged is what the training got to, not what was told last.
    assert beat(lab, judge, lease, (20, 0.1), (5, 0.2)) is Command.CONTINUE
    assert judge.seen[-1][1].reports == ((5, 0.2), (10, 0.7), (20, 0.1), (30, 0.6))
    (search,) = look_up.get_experiment(lab.store, experiment, LEASE).stage_searches
    assert [value for _, value in look_up.list_trials(lab.store, search.id)[0].reports] == [0.2, 0.7, 0.1, 0.6]


def test_without_a_pruner_nobody_is_asked(lab: Lab) -> None:
    lab.submit()
    worker, judge = lab.worker(), Judge()
    lab.plan()
    lease = lab.take(worker)
    assert not lease.work.pruned
    assert beat(lab, judge, lease, (5, 0.1)) is Command.CONTINUE
    assert judge.seen == []


def test_a_pruned_trial_counts_and_keeps_its_last_value(lab: Lab) -> None:
    experiment = lab.submit(search={"pruner": "median"}, phases=[{"epochs": 1, "trials": 2}])
    worker = lab.worker()
    lab.plan()
    lab.finish(lab.take(worker), 0.3, "pruned")
    done = lab.drive(experiment, worker)
    assert [lease.kind for lease in done] == ["trial", "evaluate"]
    assert lab.rows("SELECT state, value FROM trial ORDER BY ordinal")[0] == ("pruned", 0.3)


def test_only_trials_are_pruned(lab: Lab) -> None:
    experiment = lab.submit(search={"pruner": "median"}, seeds=[0, 7])
    judge = Judge()

    def work(lease: LeasedTask) -> None:
        if lease.kind == "fit":
            assert not lease.work.pruned
            assert beat(lab, judge, lease, (5, 0.1)) is Command.CONTINUE
        lab.finish(lease)

    lab.drive(experiment, lab.worker(), work)
    assert judge.seen == []
