"""The paper's notation, read and written: ``Conv-3-32 Conv-3-32 Pool-2`` is a stage of three layers."""

import re
from collections.abc import Iterable
from typing import assert_never

from service.domain.errors import Fault, InvalidSubmission
from service.domain.layers import Conv, Layer, Pool

MAX_SIZE = 64
MAX_FILTERS = 65_536
MAX_LAYERS = 1_000

_CONV = re.compile(r"conv-([0-9]+)-([0-9]+)", re.IGNORECASE)
_POOL = re.compile(r"pool-([0-9]+)", re.IGNORECASE)


def parse(text: str, path: str = "stage") -> tuple[Layer, ...]:
    """The layers of a stage, separated by white space; case does not matter.

    Raises InvalidSubmission with a fault for every word that is not a layer; ``path`` is where the text stands.
    """
    words = text.split()
    if not words:
        raise InvalidSubmission(
            [Fault(path, "the stage is empty; name its layers, e.g. Conv-3-32 Pool-2, or leave it out")]
        )
    if len(words) > MAX_LAYERS:
        message = (
            f"the stage has {len(words):,} layers, at most {MAX_LAYERS:,} are accepted; cut it into several stages"
        )
        raise InvalidSubmission([Fault(path, message)])
    layers: list[Layer] = []
    faults: list[Fault] = []
    for word in words:
        layer = _layer(word)
        if isinstance(layer, str):
            faults.append(Fault(path, layer))
        else:
            layers.append(layer)
    if faults:
        raise InvalidSubmission(dict.fromkeys(faults))
    return tuple(layers)


def write(layers: Iterable[Layer]) -> str:
    """The layers as the paper writes them; ``parse(write(layers)) == layers``."""
    return " ".join(_word(layer) for layer in layers)


def _word(layer: Layer) -> str:
    match layer:
        case Conv(size, filters):
            return f"Conv-{size}-{filters}"
        case Pool(size):
            return f"Pool-{size}"
        case _:
            assert_never(layer)


def _layer(word: str) -> Layer | str:
    """The layer, or what is wrong with the word."""
    if found := _CONV.fullmatch(word):
        size, filters = (_number(digits) for digits in found.groups())
        wrong = _outside(word, "the filter size n", size, MAX_SIZE)
        wrong = wrong or _outside(word, "the number of filters m", filters, MAX_FILTERS)
        return wrong or Conv(size, filters)
    if found := _POOL.fullmatch(word):
        size = _number(found[1])
        return _outside(word, "the pool size n", size, MAX_SIZE) or Pool(size)
    return f"{_quoted(word)} is not a layer; write Conv-n-m, e.g. Conv-3-32, or Pool-n, e.g. Pool-2"


def _outside(word: str, what: str, number: int, most: int) -> str | None:
    return None if 1 <= number <= most else f"{_quoted(word)}: {what} must lie between 1 and {most:,}"


def _number(digits: str) -> int:
    # int() refuses some thousand digits with an error of its own; nine are beyond every limit here.
    return int(digits[-9:]) if len(digits.lstrip("0")) <= 9 else 10**9


def _quoted(word: str) -> str:
    return repr(word if len(word) <= 40 else word[:39] + "…")
