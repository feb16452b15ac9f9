"""Suggestions become tasks: several at once where that costs nobody time, and none twice."""

from service.domain.space import PastTrial, SearchBrief, Suggestion
from service.storage import trials
from service.usecases.advance_experiment import advance_experiment
from service.usecases.suggest_trials import suggest_trials
from tests.service.lab import LEASE, Lab, blind, suggest

MANY = [{"epochs": 1, "trials": 20}]
SLOTS = 8
AHEAD = SLOTS + 1


def points(lab: Lab) -> list[tuple[int, float]]:
    return [tuple(row) for row in lab.rows("SELECT ordinal, learning_rate FROM trial ORDER BY ordinal")]


def test_a_fleet_gets_its_trials_together_and_takes_them_in_their_order(lab: Lab) -> None:
    lab.submit(phases=MANY)
    worker = lab.worker(slots=SLOTS)
    lab.plan()
    assert lab.value("SELECT count(DISTINCT suggested_at) FROM trial") == 1
    assert [ordinal for ordinal, _ in points(lab)] == list(range(AHEAD))
    labels = [lab.take(worker).label for _ in range(SLOTS)]
    assert [label.rpartition(" ")[2] for label in labels] == [str(ordinal) for ordinal in range(SLOTS)]


def test_what_a_model_draws_becomes_tasks_one_by_one_and_is_the_same(lab: Lab) -> None:
    lab.submit(phases=MANY, reuse=False)
    lab.worker(slots=SLOTS)
    lab.plan()
    together = points(lab)
    lab.run("DELETE FROM task")
    lab.run("DELETE FROM trial")
    added: list[int] = []
    known: list[int] = []

    def knowing(brief: SearchBrief, past: tuple[PastTrial, ...], ordinal: int) -> Suggestion:
        known.append(len(past))
        return suggest(brief, past, ordinal)

    suggest_trials(lab.store, knowing, lambda _: 2, LEASE, lambda: added.append(len(points(lab))))
    assert known == [0, 0, *range(2, SLOTS)], "blind ones are drawn without the past, the others with all of it"
    assert added == [2, *range(3, SLOTS + 1)], "two are blind, and of the others none is asked ahead"
    assert points(lab) == together[:SLOTS]


def test_a_draw_that_fails_keeps_none_before_it(lab: Lab) -> None:
    advance_experiment(lab.store, lab.submit(phases=MANY))
    lab.worker(slots=SLOTS)

    def breaking(brief: SearchBrief, past: tuple[PastTrial, ...], ordinal: int) -> Suggestion:
        if ordinal == 3:
            raise ArithmeticError("odd")
        return suggest(brief, past, ordinal)

    suggest_trials(lab.store, breaking, blind, LEASE)
    assert [ordinal for ordinal, _ in points(lab)] == [0, 1, 2]


def test_what_was_drawn_while_another_server_suggested_is_dropped_whole(lab: Lab) -> None:
    advance_experiment(lab.store, lab.submit(phases=MANY))
    lab.worker(slots=SLOTS)

    def overtaken(brief: SearchBrief, past: tuple[PastTrial, ...], ordinal: int) -> Suggestion:
        suggestion = suggest(brief, past, ordinal)
        if ordinal == AHEAD - 1:
            search = lab.value("SELECT id FROM search")
            with lab.store.transaction() as tx:
                assert trials.add(tx, search, 0, {search: suggestion})
        return suggestion

    assert suggest_trials(lab.store, overtaken, blind, LEASE) == 0
    assert [ordinal for ordinal, _ in points(lab)] == [0]
    assert lab.value("SELECT count(*) FROM task") == 0
