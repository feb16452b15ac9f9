import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import Fault, InvalidSubmission
from service.domain.layers import Conv, Layer, Pool
from service.domain.notation import MAX_FILTERS, MAX_LAYERS, MAX_SIZE, parse, write

layers = st.one_of(
    st.builds(Conv, st.integers(1, MAX_SIZE), st.integers(1, MAX_FILTERS)),
    st.builds(Pool, st.integers(1, MAX_SIZE)),
)


@given(st.lists(layers, min_size=1, max_size=20))
def test_what_is_written_is_read_back(stage: list[Layer]) -> None:
    assert parse(write(stage)) == tuple(stage)


@given(st.text(max_size=200))
def test_any_text_is_layers_or_faults_with_its_path(text: str) -> None:
    faults: tuple[Fault, ...] = ()
    try:
        stage = parse(text, "here")
    except InvalidSubmission as error:
        stage, faults = (), error.faults
    assert bool(stage) != bool(faults)
    assert all(fault.path == "here" for fault in faults)


def test_case_and_white_space_do_not_matter() -> None:
    assert parse("  conv-5-64\n\tPOOL-3 ") == (Conv(5, 64), Pool(3))


@pytest.mark.parametrize(
    "word", ["Conv-3", "Conv-3-32-1", "Conv-3-32,", "Conv--3-32", "Conv-3.5-2", "Dense-10", "Conv-³-32"]
)
def test_a_word_that_is_no_layer_is_told_what_to_write(word: str) -> None:
    with pytest.raises(InvalidSubmission) as caught:
        parse(f"Conv-3-32 {word}", "architectures.CNN 1[0]")
    (fault,) = caught.value.faults
    assert fault.path == "architectures.CNN 1[0]"
    assert fault.message == f"'{word}' is not a layer; write Conv-n-m, e.g. Conv-3-32, or Pool-n, e.g. Pool-2"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("Conv-0-32", "the filter size n must lie between 1 and 64"),
        ("Conv-65-32", "the filter size n must lie between 1 and 64"),
        ("Conv-3-0", "the number of filters m must lie between 1 and 65,536"),
        ("Conv-3-" + "9" * 9_000, "the number of filters m must lie between 1 and 65,536"),
        ("Pool-0", "the pool size n must lie between 1 and 64"),
    ],
)
def test_numbers_have_bounds(word: str, message: str) -> None:
    with pytest.raises(InvalidSubmission) as caught:
        parse(word)
    (fault,) = caught.value.faults
    assert fault.message.endswith(message)
    assert len(fault.message) < 120


def test_all_wrong_words_are_told_at_once() -> None:
    with pytest.raises(InvalidSubmission) as caught:
        parse("Conf-3-32 Conv-3-32 Pol-2")
    assert [fault.message.split()[0] for fault in caught.value.faults] == ["'Conf-3-32'", "'Pol-2'"]


@pytest.mark.parametrize("text", ["", " \n ", "Pool-1 " * (MAX_LAYERS + 1)])
def test_an_empty_or_endless_stage_is_refused(text: str) -> None:
    with pytest.raises(InvalidSubmission, match=r"the stage (is empty|has 1,001 layers)"):
        parse(text)
