"""An experiment from its submission to its report, with a worker that trains nothing."""

from collections import Counter
from typing import Any

import pytest

from service.domain.layers import Stage
from service.domain.plan import plan_experiment
from service.domain.space import PastTrial, Point, SearchBrief, Suggestion
from service.domain.states import ExperimentState, Learning, TaskKind
from service.storage.tasks import LeasedTask
from service.usecases.build_report import build_report
from service.usecases.follow_experiment import follow_experiment
from service.usecases.look_up import get_experiment, list_trials
from tests.service.lab import TREE, Lab, suggest

PHASES = [{"epochs": 1, "trials": 3}, {"epochs": 2, "trials": 2}]


def test_two_phases_and_two_seeds_run_to_the_end(lab: Lab) -> None:
    experiment = lab.submit(TREE, phases=PHASES, seeds=[0, 7])

    done = lab.drive(experiment, lab.worker())

    assert lab.state(experiment) is ExperimentState.FINISHED
    view = get_experiment(lab.store, experiment)
    # A and B's first stage, B's second, B as a whole: three searches a phase.
    assert Counter(lease.kind for lease in done) == {
        TaskKind.TRIAL: 3 * 3 + 3 * 2,
        TaskKind.FIT: 6,
        TaskKind.EVALUATE: 2 * 3 * 2,
    }
    assert {search.state for search in view.stage_searches} == {"decided"}
    assert (view.fits_finished, view.evaluations_finished) == (view.fits, view.evaluations) == (6, 12)
    assert lab.value("SELECT count(*) FROM result") == len(done)
    assert lab.value("SELECT count(*) FROM task WHERE state <> 'done'") == 0
    kinds = [event.kind for event in follow_experiment(lab.store, experiment, 0, 1000).events]
    assert kinds[0] == "submitted"
    assert kinds[-1] == "finished"
    assert kinds.count("search-decided") == 6


def test_fits_stand_on_the_prefix_of_their_own_seed(lab: Lab) -> None:
    experiment = lab.submit(TREE, seeds=[0, 7, 9])
    checkpoints: dict[tuple[Stage, int], str] = {}

    def train(lease: LeasedTask) -> None:
        if lease.kind is TaskKind.FIT and not lease.work.prefix:
            checkpoints[lease.work.stage, lease.work.seed] = lab.outcome(lease)["checkpoint"]
        lab.finish(lease)

    done = lab.drive(experiment, lab.worker(), train)

    second = [lease for lease in done if lease.kind is TaskKind.FIT and lease.work.prefix]
    assert {lease.work.seed for lease in second} == {7, 9}
    for lease in second:
        (before,) = lease.work.prefix
        assert before.checkpoint == checkpoints[before.stage, lease.work.seed]


def test_the_second_phase_starts_from_the_first_ones_incumbent(lab: Lab) -> None:
    experiment = lab.submit(phases=PHASES)
    lab.drive(experiment, lab.worker())

    first, second = get_experiment(lab.store, experiment).stage_searches

    start = list_trials(lab.store, second.id)[0]
    assert (start.origin, start.hyperparameters) == ("incumbent", first.incumbent)


def test_a_stage_starts_from_what_the_stages_before_it_found_and_never_from_its_siblings(lab: Lab) -> None:
    first = "Conv-3-4 Pool-2"
    networks = {"A": [first, "Conv-3-4", "Conv-3-8"], "B": [first, "Conv-3-8"]}
    experiment = lab.submit(
        networks,
        variants=[{"architecture": name, "learning": "partial"} for name in networks],
        phases=[{"epochs": 1, "trials": 4}],
    )
    lab.drive(experiment, lab.worker())

    searches = get_experiment(lab.store, experiment).stage_searches
    found = {search.id: search.incumbent for search in searches}
    (root,), siblings, (last,) = ([search for search in searches if search.depth == depth] for depth in range(3))
    (before,) = (search for search in siblings if search.id == last.parent)
    starts = {
        search.id: [t.hyperparameters for t in list_trials(lab.store, search.id) if t.origin == "incumbent"]
        for search in searches
    }
    assert len({found[search.id] for search in (root, *siblings)}) == 3, "else a sibling's point would not be seen"
    assert starts[root.id] == []
    assert [starts[search.id] for search in siblings] == [[found[root.id]]] * 2
    assert starts[last.id] == [found[root.id], found[before.id]]


def test_checkpointed_total_and_one_with_seconds_try_what_plain_total_tries(lab: Lab) -> None:
    total = {"architecture": "A", "learning": "total"}
    experiment = lab.submit(
        {"A": ["Conv-3-4", "Conv-3-4"]},
        variants=[
            total,
            total | {"checkpointing": True},
            total | {"budget": "seconds"},
            {"architecture": "A", "learning": "partial"},
        ],
        search={"sampler": "random"},
    )
    lab.drive(experiment, lab.worker())

    tried = {
        name: [trial.hyperparameters for trial in list_trials(lab.store, search.id)]
        for search in get_experiment(lab.store, experiment).stage_searches
        for name in search.used_by
        if search.depth == 0
    }
    plain = tried["A total"]
    assert len(plain) == len(set(plain)) > 1
    assert tried["A total, checkpointed"] == plain
    assert len(tried["A total, equal seconds"]) > len(plain)
    assert tried["A total, equal seconds"][: len(plain)] == plain


def test_the_report_tells_the_incumbents_figures(lab: Lab) -> None:
    experiment = lab.submit(TREE, seeds=[0, 7])
    lab.drive(experiment, lab.worker())

    report = build_report(lab.store, experiment)

    lines = {(line.architecture, line.learning): line for line in report.variants}
    partial = lines["B", Learning.PARTIAL]
    assert [line.state for line in report.variants] == ["complete"] * 3
    assert partial.training_seconds == 2 * 2.5
    assert partial.search_seconds == 2 * 3 * 3.0
    assert partial.shared_seconds == 3 * 3.0
    assert partial.test_accuracy is not None
    assert partial.test_accuracy.values == (0.5, 0.5)
    assert (partial.memory_bytes, partial.memory_method) == (1000, "counted")
    assert [gap.partial for gap in report.gaps] == ["B partial"]
    assert report.devices == ("cpu",)


def test_repeating_every_step_changes_nothing(lab: Lab) -> None:
    """A crash after any step is mended by doing the step again."""
    experiment = lab.submit(TREE, seeds=[0, 7])
    worker = lab.worker()
    counts = "SELECT (SELECT count(*) FROM trial), (SELECT count(*) FROM task), (SELECT count(*) FROM event)"
    while lab.state(experiment) is ExperimentState.RUNNING:
        lab.plan()
        lab.project()
        before = lab.rows(counts)
        lab.plan()
        assert lab.project() == 0
        assert lab.rows(counts) == before
        lease = lab.lease(worker)
        if lease is not None:
            lab.finish(lease)
    shown = {study.name: study for study in lab.shown}
    lab.project()
    shown |= {study.name: study for study in lab.shown}
    assert sorted(len(study.trials) for study in shown.values()) == [3, 3, 3]


def test_every_search_has_its_study_from_the_first_pass_on(lab: Lab) -> None:
    experiment = lab.submit(TREE)

    assert lab.project() == 3

    waiting = {search.name for search in get_experiment(lab.store, experiment).stage_searches}
    assert {study.name for study in lab.shown} == waiting
    assert lab.project() == 0


def test_random_exponential_search_goes_on_around_the_earlier_phases_incumbent(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    centres: dict[str, Point] = {}

    def remember(brief: SearchBrief, past: tuple[PastTrial, ...], ordinal: int) -> Suggestion:
        centres[brief.key] = brief.initial
        return suggest(brief, past, ordinal)

    monkeypatch.setattr("tests.service.lab.suggest", remember)
    phases = [{"epochs": 1, "trials": 2}, {"epochs": 2, "trials": 2}, {"epochs": 2, "trials": 2, "start": "initial"}]
    wishes: dict[str, Any] = {"phases": phases, "search": {"sampler": "random-exponential"}}
    experiment = lab.submit(**wishes)

    lab.drive(experiment, lab.worker())

    keys = [line.path[0] for line in plan_experiment(lab.spec(lab.document(**wishes))).variants]
    incumbent = get_experiment(lab.store, experiment).stage_searches[0].incumbent
    assert [centres[key] for key in keys] == [Point(1e-4, 1.0), incumbent, Point(1e-4, 1.0)]


def test_a_search_without_incumbent_is_dead_and_blocks_what_stands_on_it(lab: Lab) -> None:
    experiment = lab.submit(TREE, variants=[{"architecture": "B", "learning": "partial"}], seeds=[0, 7])

    done = lab.drive(experiment, lab.worker(), lambda lease: lab.finish(lease, 0.3, "diverged"))

    assert lab.state(experiment) is ExperimentState.FAILED
    assert len(done) == 3
    assert {search.state for search in get_experiment(lab.store, experiment).stage_searches} == {"dead"}
    assert build_report(lab.store, experiment).variants[0].state == "dead"
    assert {trial.state for trial in _trials(lab)} == {"complete"}
    # Samplers see chance accuracy of ten classes, whatever the worker measured.
    assert {trial.value for trial in _trials(lab)} == {0.1}


def _trials(lab: Lab) -> list[Any]:
    return lab.rows("SELECT state, value FROM trial")
