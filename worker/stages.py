"""The stages of a network as the training room has them, from the protocol's words."""

from contract.tasks import ConvLayer, StageShape
from worker.training.spec import Conv, Pool, Stage


def stage_of(shape: StageShape) -> Stage:
    """A stage in the training room's words."""
    layers = tuple(
        Conv(layer.size, layer.filters) if isinstance(layer, ConvLayer) else Pool(layer.size) for layer in shape.layers
    )
    return Stage(layers, shape.input_shape, shape.output_shape, tuple(shape.norms))
