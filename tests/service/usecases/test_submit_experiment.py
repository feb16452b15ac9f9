from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from service.domain.errors import Conflict, NotFound
from service.domain.leasing import FailureReason
from service.domain.states import ExperimentState
from service.domain.views import PlanView
from service.storage.tasks import LeasedTask
from service.usecases.build_report import build_report
from service.usecases.control_experiment import cancel_experiment
from service.usecases.look_up import get_experiment, list_experiments
from service.usecases.plan_submission import plan_submission
from service.usecases.record_failure import record_failure
from tests.service.lab import DIGITS, STRIKES, TREE, Lab

PARTIAL = [{"architecture": "B", "learning": "partial"}]


def test_the_same_key_gives_the_same_experiment_and_refuses_another_submission(lab: Lab) -> None:
    experiment = lab.submit(key="once")
    assert lab.submit(key="once") == experiment
    with pytest.raises(Conflict):
        lab.submit(key="once", seeds=[5])
    assert lab.submit() != experiment


def test_the_same_key_sent_at_once_starts_one_experiment(lab: Lab) -> None:
    with ThreadPoolExecutor(6) as pool:
        experiments = set(pool.map(lambda _: lab.submit(TREE, key="once"), range(6)))
    assert len(experiments) == 1


def test_identical_searches_are_shared_even_when_submitted_at_once(lab: Lab) -> None:
    with ThreadPoolExecutor(6) as pool:
        experiments = set(pool.map(lambda _: lab.submit(TREE), range(6)))
    assert len(experiments) == 6
    assert lab.value("SELECT count(*) FROM search") == 3
    assert lab.value("SELECT count(*) FROM experiment_search") == 18


def test_finished_searches_are_taken_over(lab: Lab) -> None:
    worker = lab.worker()
    lab.drive(lab.submit(TREE), worker)

    again = lab.submit(TREE)

    assert lab.drive(again, worker) == []
    assert all(search.reused for search in get_experiment(lab.store, again).stage_searches)


def test_a_plan_counts_what_is_left_to_do(lab: Lab) -> None:
    worker = lab.worker()
    wishes: dict[str, Any] = {"seeds": [0, 1, 2], "search": {"confirm_seeds": 1}}

    def plan(**more: object) -> PlanView:
        return plan_submission(lab.store, lab.spec(lab.document(TREE, **{**wishes, **more})))

    whole = plan()
    assert {search.state for search in whole.searches} == {"new"}
    assert (whole.trials, whole.fits, whole.evaluations, whole.confirmations) == (9, 6, 9, 6)

    experiment = lab.submit(TREE, **wishes)
    for _ in range(2):
        lab.plan()
        lab.finish(lab.take(worker))
    begun = plan()
    assert {search.state for search in begun.searches} == {"under-way"}
    assert (begun.trials, begun.least_trials, begun.fits, begun.evaluations) == (7, 7, 6, 9)
    assert 0 < begun.multiply_adds < whole.multiply_adds

    lab.drive(experiment, worker)
    ended = plan()
    assert {search.state for search in ended.searches} == {"taken-over"}
    assert (ended.trials, ended.range_tests, ended.confirmations, ended.fits, ended.evaluations) == (0, 0, 0, 0, 0)
    assert (ended.multiply_adds, ended.estimated_seconds, ended.most_seconds) == (0, 0, 0)
    # Another seed is fitted by each search, and tested behind each last one.
    more = plan(seeds=[0, 1, 2, 3])
    assert (more.trials, more.fits, more.evaluations) == (0, 3, 3)


def test_a_plan_counts_no_seed_on_which_nothing_can_be_trained(lab: Lab) -> None:
    worker = lab.worker()
    wishes: dict[str, Any] = {"variants": PARTIAL, "seeds": [0, 1, 2]}

    def work(lease: LeasedTask) -> None:
        if lease.kind == "fit" and lease.work.seed == 2:
            diverge(lab, lease)
        else:
            lab.finish(lease)

    lab.drive(lab.submit(TREE, **wishes), worker, work)

    plan = plan_submission(lab.store, lab.spec(lab.document(TREE, **wishes)))

    assert (plan.trials, plan.fits, plan.evaluations, plan.estimated_seconds) == (0, 0, 0, 0)


def test_the_estimate_rests_on_trainings_of_the_same_data_set(lab: Lab) -> None:
    document = lab.document({"B": ["Conv-3-8 Pool-2"]})
    elsewhere = replace(lab.spec(document), dataset=replace(DIGITS, digest="e" * 64))
    worker = lab.worker()
    lab.drive(lab.submit(), worker)

    estimated = plan_submission(lab.store, lab.spec(document)).estimated_seconds

    # Every training took three seconds, and B is twice as large as what was trained.
    assert estimated == pytest.approx(3 * 3.0 * 2, rel=0.2)
    assert plan_submission(lab.store, elsewhere).estimated_seconds is None


def test_the_estimate_tells_what_second_rounds_would_add(lab: Lab) -> None:
    lab.drive(lab.submit(), lab.worker())
    plan = plan_submission(lab.store, lab.spec(lab.document(search={"second_round": 3})))
    assert plan.estimated_seconds is not None
    assert plan.most_seconds is not None
    # Three trials of three seconds, and three more.
    assert plan.most_seconds - plan.estimated_seconds == pytest.approx(9.0)


def test_what_is_far_larger_than_anything_trained_has_no_estimate(lab: Lab) -> None:
    lab.drive(lab.submit(), lab.worker())
    assert plan_submission(lab.store, lab.spec(lab.document({"B": ["Conv-3-512"]}))).estimated_seconds is None


def test_without_reuse_everything_is_trained_anew(lab: Lab) -> None:
    worker = lab.worker()
    lab.drive(lab.submit(), worker)
    done = lab.drive(lab.submit(reuse=False), worker)
    assert [lease.kind for lease in done] == ["trial", "trial", "trial", "evaluate"]


def test_a_cancelled_search_is_tried_again_under_a_name_of_its_own(lab: Lab) -> None:
    cancel_experiment(lab.store, lab.submit())
    experiment = lab.submit()
    names = [row.name for row in lab.rows("SELECT name FROM search ORDER BY created_at")]
    assert names[1] == f"{names[0]} (2)"
    lab.drive(experiment, lab.worker())


def diverge(lab: Lab, lease: LeasedTask) -> None:
    lab.finish(lease, 0.1, "diverged")


def test_what_died_of_its_results_is_taken_over_with_all_that_stands_on_it(lab: Lab) -> None:
    worker = lab.worker()
    lab.drive(lab.submit(TREE, variants=PARTIAL), worker, lambda lease: diverge(lab, lease))

    again = lab.submit(TREE, variants=PARTIAL)

    assert lab.drive(again, worker) == []
    assert lab.state(again) is ExperimentState.FAILED
    searches = get_experiment(lab.store, again).stage_searches
    assert [(search.state, search.reused) for search in searches] == [("dead", True), ("dead", True)]
    document = lab.document(TREE, variants=PARTIAL)
    plan = plan_submission(lab.store, lab.spec(document))
    assert {search.state for search in plan.searches} == {"taken-over"}
    assert (plan.trials, plan.evaluations) == (0, 0)
    assert any("--no-reuse searches anew" in note for note in build_report(lab.store, again).notes)
    # Whoever asks for it gets another try.
    afresh = lab.submit(TREE, variants=PARTIAL, reuse=False)
    lab.drive(afresh, worker)
    assert lab.state(afresh) is ExperimentState.FINISHED


def test_what_died_of_failures_is_searched_again(lab: Lab) -> None:
    worker = lab.worker()
    failed: list[LeasedTask] = []

    def work(lease: LeasedTask) -> None:
        if failed:
            diverge(lab, lease)
        else:
            failed.append(lease)
            record_failure(lab.store, lease.task, lease.attempt, FailureReason.USER_ERROR, STRIKES)

    first = lab.submit(TREE, variants=PARTIAL)
    lab.drive(first, worker, work)
    assert lab.state(first) is ExperimentState.FAILED

    again = lab.submit(TREE, variants=PARTIAL)

    lab.drive(again, worker)
    assert lab.state(again) is ExperimentState.FINISHED
    assert not any(search.reused for search in get_experiment(lab.store, again).stage_searches)
    # What is decided by now comes before what died.
    third = lab.submit(TREE, variants=PARTIAL)
    assert {search.state for search in get_experiment(lab.store, third).stage_searches} == {"decided"}


def test_what_went_without_an_incumbent_that_failures_cost_is_searched_again(lab: Lab) -> None:
    worker = lab.worker()
    phases = [{"epochs": 1, "trials": 2}, {"epochs": 2, "trials": 2}]

    def work(lease: LeasedTask) -> None:
        if lease.kind == "trial" and lease.work.epochs == 1:
            record_failure(lab.store, lease.task, lease.attempt, FailureReason.USER_ERROR, STRIKES)
        else:
            lab.finish(lease)

    lab.drive(lab.submit(TREE, variants=PARTIAL, phases=phases), worker, work)

    again = lab.submit(TREE, variants=PARTIAL, phases=phases)
    lab.drive(again, worker)

    searches = get_experiment(lab.store, again).stage_searches
    assert [(search.state, search.reused) for search in searches] == [("decided", False)] * 4
    first = "SELECT origin FROM trial WHERE search_id = :id AND ordinal = 0"
    assert [lab.value(first, id=search.id) for search in searches[2:]] == ["incumbent", "incumbent"]
    assert lab.drive(lab.submit(TREE, variants=PARTIAL, phases=phases), worker) == []


def test_the_list_is_paged_from_the_newest_and_new_ones_shift_nothing(lab: Lab) -> None:
    submitted = [lab.submit() for _ in range(5)]
    first = list_experiments(lab.store, limit=2)
    lab.submit()
    second = list_experiments(lab.store, limit=2, cursor=first.next)
    third = list_experiments(lab.store, limit=2, cursor=second.next)

    assert [item.id for page in (first, second, third) for item in page.items] == submitted[::-1]
    assert third.next is None
    assert (first.items[0].searches, first.items[0].trials, first.items[0].dataset) == (1, 3, "digits")


def test_what_does_not_exist_is_not_found(lab: Lab) -> None:
    with pytest.raises(NotFound):
        get_experiment(lab.store, uuid4())
