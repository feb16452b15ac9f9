"""Workers and data sets as people see them."""

from uuid import uuid4

import pytest

from service.domain.datasets import ADDED_HINT, CATALOGUE, what_is_missing
from service.domain.errors import UnknownDataset
from service.domain.experiment import Dataset
from service.usecases.control_experiment import pause_experiment
from service.usecases.depart_worker import depart_worker
from service.usecases.find_dataset import find_dataset
from service.usecases.list_datasets import list_datasets
from service.usecases.list_workers import list_workers
from service.usecases.look_up import get_experiment
from service.usecases.register_worker import register_worker
from tests.service.lab import LEASE, Lab

PEBBLES = Dataset("pebbles", "e" * 64, (3, 16, 16), 4, 100, 20)


def test_a_worker_is_online_until_it_says_goodbye_or_falls_silent(lab: Lab) -> None:
    lab.submit()
    worker, silent = lab.worker(slots=2), lab.worker()
    lab.plan()
    lab.take(worker)
    lab.run("UPDATE worker SET last_seen_at = now() - interval '1 hour' WHERE id = :id", id=silent)

    views = {view.id: view for view in list_workers(lab.store, LEASE)}

    assert (views[worker].state, views[worker].leases, views[worker].slots) == ("online", 1, 2)
    assert views[worker].datasets == ("digits",)
    assert views[silent].state == "offline"
    depart_worker(lab.store, worker)
    assert {view.state for view in list_workers(lab.store, LEASE)} == {"offline"}


def test_registering_again_brings_a_worker_up_to_date(lab: Lab) -> None:
    worker = uuid4()
    registered = [
        register_worker(lab.store, worker, name="w", device="cpu", slots=slots, info={}, datasets=[PEBBLES] * slots)
        for slots in (1, 3)
    ]
    assert registered == [True, False]
    (view,) = list_workers(lab.store, LEASE)
    assert (view.slots, view.datasets) == (3, ("pebbles",))


def test_the_catalogue_comes_first_and_says_who_holds_what(lab: Lab) -> None:
    lab.worker(dataset=PEBBLES)
    lab.worker(dataset=PEBBLES)

    views = list_datasets(lab.store, LEASE)

    assert [view.name for view in views] == [*(entry.name for entry in CATALOGUE), "pebbles"]
    assert (views[-1].held_by, views[-1].digest, views[-1].shape) == (2, PEBBLES.digest, (3, 16, 16))
    assert all(view.hint for view in views)


def test_a_name_stands_for_what_workers_hold(lab: Lab) -> None:
    with pytest.raises(UnknownDataset, match="data add"):
        find_dataset(lab.store, "pebbles")
    lab.worker(dataset=PEBBLES)
    assert find_dataset(lab.store, "pebbles") == PEBBLES


def test_an_experiment_says_what_it_waits_for(lab: Lab) -> None:
    experiment = lab.submit()
    assert get_experiment(lab.store, experiment).notes == ("no worker is connected yet: `stagetune worker` starts one",)
    lab.worker(dataset=PEBBLES)
    (note,) = get_experiment(lab.store, experiment).notes
    assert note == f"no worker holds digits yet: {CATALOGUE[0].hint}"
    holder = lab.worker()
    assert get_experiment(lab.store, experiment).notes == ()
    depart_worker(lab.store, holder)
    assert get_experiment(lab.store, experiment).notes == (note,)
    pause_experiment(lab.store, experiment)
    assert get_experiment(lab.store, experiment).notes == ()


def test_a_data_set_of_ones_own_is_brought_by_adding_it() -> None:
    assert what_is_missing("pebbles", workers=1, holders=0) == f"no worker holds pebbles yet: {ADDED_HINT}"
