import pytest

from worker.training.spec import Conv, Pool, Stage


def test_a_stage_knows_the_shape_after_every_layer() -> None:
    stage = Stage((Conv(3, 8), Pool(2), Conv(5, 4)), (3, 9, 9), (4, 4, 4))
    assert stage.shapes == ((8, 9, 9), (8, 4, 4), (4, 4, 4))


@pytest.mark.parametrize(
    ("layers", "output"),
    [((), (1, 8, 8)), ((Pool(9),), (1, 0, 0)), ((Conv(3, 4),), (4, 8, 7)), ((Conv(0, 4),), (4, 8, 8))],
)
def test_an_impossible_stage_is_refused(layers: tuple[Conv | Pool, ...], output: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"layer|extent|stage"):
        Stage(layers, (1, 8, 8), output)
