import pytest

from service.domain.errors import InvalidSubmission
from service.domain.notation import parse
from service.domain.shapes import multiply_adds, parameters, resolve
from tests.service.domain.conftest import TABLE_1

CIFAR10 = (3, 32, 32)

# Millions of multiply-adds per image: Total, and Partial with cached features.
REFERENCE = {
    "CNN 2": (31.2, 32.2),
    "CNN 3": (37.5, 38.5),
    "CNN 4": (87.8, 88.8),
    "CNN 5": (13.7, 14.0),
    "CNN 6": (45.2, 45.4),
    "CNN 7": (15.6, 16.0),
    "CNN 8": (48.7, 49.0),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_multiply_adds_of_the_papers_networks(name: str) -> None:
    total, partial = REFERENCE[name]
    whole = resolve([parse(" ".join(TABLE_1[name]))], CIFAR10)
    stages = resolve([parse(text) for text in TABLE_1[name]], CIFAR10)
    assert sum(multiply_adds(stage, 10) for stage in whole) / 1e6 == pytest.approx(total, abs=0.05)
    assert sum(multiply_adds(stage, 10) for stage in stages) / 1e6 == pytest.approx(partial, abs=0.05)


def test_parameters_count_weights_and_biases_of_layers_and_head() -> None:
    (stage,) = resolve([parse("Conv-3-32 Pool-2")], CIFAR10)
    assert parameters(stage, 10) == (3 * 3 * 3 + 1) * 32 + (32 * 16 * 16 + 1) * 10


def test_each_stage_starts_from_the_shape_before() -> None:
    first, second = resolve([parse("Conv-4-8 Pool-3"), parse("Conv-1-16 Pool-10")], CIFAR10)
    assert (first.input_shape, first.output_shape) == (CIFAR10, (8, 10, 10))
    assert (second.input_shape, second.output_shape) == ((8, 10, 10), (16, 1, 1))


def test_a_pool_that_does_not_fit_is_refused_where_it_stands() -> None:
    with pytest.raises(InvalidSubmission) as caught:
        resolve([parse("Pool-32"), parse("Conv-3-8 Pool-2")], CIFAR10, "architectures.A")
    (fault,) = caught.value.faults
    assert fault.path == "architectures.A[1]"
    assert fault.message.startswith("Pool-2 does not fit: 1 x 1 pixels reach it")
