"""The hot routes take as many statements for a large experiment as for a small one."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from service.domain.states import TaskKind
from service.storage.results import Measurement
from service.usecases.advance_experiment import advance_experiment
from service.usecases.lease_task import lease_task
from service.usecases.look_up import get_experiment, list_experiments, list_trials
from service.usecases.renew_lease import renew_lease
from service.usecases.request_embedding import list_embeddings
from tests.service.lab import LEASE, Lab, never
from tests.service.statements import statements


def tree(width: int) -> dict[str, list[str]]:
    """So many second stages on one first stage."""
    return {f"B{n}": ["Conv-3-4 Pool-2", f"Conv-3-{n}"] for n in range(1, width + 1)}


def submit(lab: Lab, width: int) -> UUID:
    variants = [{"architecture": name, "learning": "partial"} for name in tree(width)]
    # Searches of their own: nothing is shared with the other experiment.
    return lab.submit(tree(width), variants=variants, seeds=[0, 7], search={"range_test": True}, reuse=False)


def count(lab: Lab, act: Callable[[], object]) -> int:
    with statements(lab.store) as seen:
        act()
    return len(seen)


def decide_root(lab: Lab, worker: UUID) -> None:
    """Work until the root's trials have finished and its decision is due."""
    while lab.value("SELECT count(*) FROM trial WHERE state = 'complete'") < 3:
        lab.plan()
        lab.finish(lab.take(worker))
    assert lab.value("SELECT count(*) FROM search WHERE state = 'waiting'") > 0


def of_a_pass(lab: Lab, width: int, decided: bool) -> int:
    lab.run("TRUNCATE experiment, search, worker CASCADE")
    experiment = submit(lab, width)
    if decided:
        decide_root(lab, lab.worker())
    taken = count(lab, lambda: advance_experiment(lab.store, experiment))
    assert lab.value("SELECT count(*) FROM search WHERE state = 'open'") == (width if decided else 1)
    return taken


@pytest.mark.parametrize("decided", [False, True])
def test_a_pass_over_an_experiment(lab: Lab, decided: bool) -> None:
    assert of_a_pass(lab, 9, decided) == of_a_pass(lab, 1, decided)


def test_a_pass_reads_the_searches_once(lab: Lab) -> None:
    experiment = submit(lab, 9)
    with statements(lab.store) as seen:
        advance_experiment(lab.store, experiment)
    assert [" s.* FROM search" in statement for statement in seen].count(True) == 1
    assert lab.rows("SELECT DISTINCT state FROM search ORDER BY state") == [("open",), ("waiting",)]


def of_routes(lab: Lab, width: int) -> dict[str, int]:
    lab.run("TRUNCATE experiment, search, worker CASCADE")
    worker, experiment = lab.worker(slots=2), submit(lab, width)
    decide_root(lab, worker)
    lab.plan()
    # The fit of the root and the range tests come first, and their results say more than a trial's.
    while (lease := lab.take(worker)).kind is not TaskKind.TRIAL:
        lab.finish(lease)
        lab.plan()
    search = lab.value("SELECT id FROM search WHERE parent_id IS NULL")
    measured = [Measurement(step, step / 10, 0.5) for step in range(10)]
    return {
        "claim": count(lab, lambda: lease_task(lab.store, worker, uuid4(), LEASE)),
        "heartbeat": count(
            lab, lambda: renew_lease(lab.store, never, lease.task, lease.attempt, LEASE, measurements=measured)
        ),
        "result": count(lab, lambda: lab.finish(lease)),
        "experiment": count(lab, lambda: get_experiment(lab.store, experiment)),
        "experiments": count(lab, lambda: list_experiments(lab.store)),
        "embeddings": count(lab, lambda: list_embeddings(lab.store, experiment)),
        "trials": count(lab, lambda: list_trials(lab.store, search)),
    }


def test_claims_heartbeats_results_and_what_is_looked_at(lab: Lab) -> None:
    assert of_routes(lab, 9) == of_routes(lab, 1)
