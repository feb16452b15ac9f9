"""Shapes through a network, and what a stage costs: parameters and multiply-adds."""

from collections.abc import Iterable
from math import prod
from typing import assert_never

from service.domain.errors import Fault, InvalidSubmission
from service.domain.layers import Conv, Layer, Pool, Shape, Stage
from service.domain.notation import write

HEAD_POOL = 2
"""Every head but the linear one averages its features down to this many rows and columns."""
HEAD_HIDDEN = 128
"""Units of the hidden layer of the head ``mlp``."""


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


def parameters(stage: Stage, classes: int, head: str = "linear") -> int:
    """Weights and biases of the stage with its head."""
    return _layers_cost(stage)[0] + _head_cost(stage.output_shape, classes, head)[0]


def multiply_adds(stage: Stage, classes: int, head: str = "linear") -> int:
    """Of one image in training: forward, and twice that backward, of the stage and its head.

    The frozen prefix is not in it: its features are produced once, not in every epoch.
    """
    return 3 * (_layers_cost(stage)[1] + _head_cost(stage.output_shape, classes, head)[1])


def _layers_cost(stage: Stage) -> tuple[int, int]:
    """Parameters, and multiply-adds of one image forward."""
    count, forward, shape = 0, 0, stage.input_shape
    for layer in stage.layers:
        after = output_shape(layer, shape)
        if isinstance(layer, Conv):
            count += (layer.size**2 * shape[0] + 1) * layer.filters
            forward += layer.size**2 * shape[0] * prod(after)
        shape = after
    return count, forward


def _head_cost(shape: Shape, classes: int, head: str) -> tuple[int, int]:
    """The same of a head on features of ``shape``; what the heads are is told in worker/training/heads.py."""
    channels, height, width = shape
    if head == "linear":
        return (prod(shape) + 1) * classes, prod(shape) * classes
    pooled = channels * min(height, HEAD_POOL) * min(width, HEAD_POOL)
    last = HEAD_HIDDEN if head == "mlp" else pooled
    count, forward = 2 * channels + (last + 1) * classes, last * classes
    if head == "mlp":
        count, forward = count + (pooled + 1) * HEAD_HIDDEN, forward + pooled * HEAD_HIDDEN
    convolutions = {"conv1": 1, "conv2": 2}.get(head, 0)
    count += convolutions * (9 * channels + 1 + 2) * channels - (2 * channels if convolutions else 0)
    return count, forward + convolutions * 9 * channels * prod(shape)
