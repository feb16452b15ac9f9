import pytest

from service.domain.notation import parse
from service.domain.published import LINES, NETWORKS, PublishedLine, published
from service.domain.states import Learning


def test_both_tables_have_all_eight_networks_with_a_point_for_every_stage() -> None:
    for table, epochs in ((2, 1), (3, 2)):
        lines = [line for line in LINES if line.table == table]
        assert [line.architecture for line in lines] == list(NETWORKS)
        assert {line.epochs for line in lines} == {epochs}
        for line in lines:
            assert len(line.learning_rates) == len(line.regularizations) == len(NETWORKS[line.architecture])


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"table {line.table}, {line.architecture}")
def test_a_line_is_found_by_its_networks_cuts(line: PublishedLine) -> None:
    stages = [parse(text) for text in NETWORKS[line.architecture]]
    ran, other = Learning.TOTAL, Learning.PARTIAL
    if line.architecture != "CNN 1":
        ran, other = other, ran

    assert published(stages, ran, line.epochs) == line
    assert published(stages, other, line.epochs) is None
    assert published(stages, ran, 3) is None


def test_what_the_paper_did_not_train_has_no_line() -> None:
    assert published([parse("Conv-3-64 Conv-3-32 Pool-2")], Learning.TOTAL, 1) is None
    assert published([parse("Conv-3-32 Conv-3-32"), parse("Pool-2")], Learning.PARTIAL, 1) is None


def test_lines_are_as_printed() -> None:
    dead, best = (
        next(line for line in LINES if (line.table, line.architecture) == wanted)
        for wanted in ((2, "CNN 7"), (3, "CNN 5"))
    )

    assert (dead.learning_rates, dead.validation_accuracy) == ((0.000547, 0.000111, 0.0), 0.127)
    assert (best.regularizations, best.seconds, best.training_accuracy) == ((0.078767, 0.004098), 5709.78, 0.677)
