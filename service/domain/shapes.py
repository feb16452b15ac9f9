"""Shapes through a network, and what a stage costs: parameters and multiply-adds."""

from collections.abc import Iterable
from math import prod
from typing import assert_never

from service.domain.errors import Fault, InvalidSubmission
from service.domain.layers import Conv, Layer, Pool, Shape, Stage
from service.domain.notation import write


def resolve(stages: Iterable[tuple[Layer, ...]], shape: Shape, path: str = "stages") -> tuple[Stage, ...]:
    """The stages with the shapes that go in and come out, from images of ``shape`` (channels, height, width).

    Raises InvalidSubmission at the first pool that is larger than what reaches it: behind it no shape is known.
    """
    resolved: list[Stage] = []
    for index, layers in enumerate(stages):
        before = shape
        for layer in layers:
            _, height, width = shape
            if isinstance(layer, Pool) and layer.size > min(height, width):
                what = f"{write([layer])} does not fit: {height} x {width} pixels reach it"
                raise InvalidSubmission([Fault(f"{path}[{index}]", f"{what}; pool less, or take the layer out")])
            shape = output_shape(layer, shape)
        resolved.append(Stage(layers, before, shape))
    return tuple(resolved)


def output_shape(layer: Layer, shape: Shape) -> Shape:
    """What a layer makes of a shape: same padding for every n; a pool drops the pixels that fill no window."""
    channels, height, width = shape
    match layer:
        case Conv(_, filters):
            return filters, height, width
        case Pool(size):
            return channels, height // size, width // size
        case _:
            assert_never(layer)


def parameters(stage: Stage, classes: int) -> int:
    """Weights and biases of the stage with a linear head."""
    count, shape = 0, stage.input_shape
    for layer in stage.layers:
        if isinstance(layer, Conv):
            count += (layer.size**2 * shape[0] + 1) * layer.filters
        shape = output_shape(layer, shape)
    return count + (prod(shape) + 1) * classes


def multiply_adds(stage: Stage, classes: int) -> int:
    """Of one image in training: forward, and twice that backward, of the stage and its linear head.

    The frozen prefix is not in it: its features are produced once, not in every epoch.
    """
    forward, shape = 0, stage.input_shape
    for layer in stage.layers:
        after = output_shape(layer, shape)
        if isinstance(layer, Conv):
            forward += layer.size**2 * shape[0] * prod(after)
        shape = after
    return 3 * (forward + prod(shape) * classes)
