"""A search for every seed instead of fits."""

from collections import Counter

from service.domain.states import ExperimentState, TaskKind
from service.usecases.control_experiment import cancel_experiment
from service.usecases.look_up import get_experiment
from tests.service.lab import TREE, Lab

EACH = {"seeds": "each"}


def test_every_seed_is_searched_and_evaluated_and_none_is_fitted(lab: Lab) -> None:
    experiment = lab.submit(TREE, seeds=[0, 7], search=EACH)

    done = lab.drive(experiment, lab.worker())

    assert lab.state(experiment) is ExperimentState.FINISHED
    kinds = Counter((lease.kind, lease.work.seed) for lease in done)
    # Three searches of three trials, and three variants, for each of the seeds.
    assert kinds == {
        (TaskKind.TRIAL, 0): 9,
        (TaskKind.TRIAL, 7): 9,
        (TaskKind.EVALUATE, 0): 3,
        (TaskKind.EVALUATE, 7): 3,
    }
    view = get_experiment(lab.store, experiment)
    assert (view.fits, view.fits_finished) == (0, 0)
    assert (view.evaluations, view.evaluations_finished) == (6, 6)


def test_a_stage_stands_on_the_prefix_of_its_own_seed(lab: Lab) -> None:
    experiment = lab.submit(TREE, variants=[{"architecture": "B", "learning": "partial"}], seeds=[0, 7], search=EACH)
    done = lab.drive(experiment, lab.worker())
    second = {lease.work.seed: lease.work.prefix[0].checkpoint for lease in done if lease.work.prefix}
    frozen = lab.rows(
        "SELECT s.seed, r.checkpoint FROM search s JOIN task t ON t.trial_id = s.incumbent_id"
        " JOIN result r ON r.task_id = t.id WHERE s.parent_id IS NULL"
    )
    assert second == dict(frozen)


def test_it_does_not_want_the_fits_of_an_experiment_that_shares_its_first_seed(lab: Lab) -> None:
    each = lab.submit(seeds=[0, 7], search=EACH)
    first = lab.submit(seeds=[0, 7])
    worker = lab.worker(slots=8)
    for _ in range(8):
        lab.plan()
        lease = lab.lease(worker)
        if lease is not None and lease.kind is TaskKind.TRIAL and lease.work.seed == 0:
            lab.finish(lease)
    fits = "SELECT seed, state IN ('ready', 'leased'), state FROM task WHERE kind = 'fit'"
    assert [(row[0], row[1]) for row in lab.rows(fits)] == [(7, True)]
    assert get_experiment(lab.store, each).state == "running"

    cancel_experiment(lab.store, first)

    assert [row.state for row in lab.rows(fits)] == ["cancelled"]


def test_a_search_of_one_seed_is_the_search_of_an_experiment_with_that_seed_alone(lab: Lab) -> None:
    worker = lab.worker()
    lab.drive(lab.submit(seeds=[0, 7], search=EACH), worker)
    assert lab.drive(lab.submit(seeds=[7]), worker) == []
