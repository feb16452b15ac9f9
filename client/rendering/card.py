"""The model card of an exported network: what it is, how it was made, how good it is, and how to use it."""

import math
from dataclasses import dataclass

from client.rendering.text import NOISE_ERRORS, Axis, accuracy, duration, layers_legend
from contract.networks import Network, NetworkStage


@dataclass(frozen=True)
class Check:
    """How far the ONNX file's logits are from the network's at most, and over which images that was seen."""

    difference: float
    images: int
    kind: str


def write_card(network: Network, check: Check | None) -> str:
    """Markdown; without a ``check`` there is no ONNX file."""
    use, recipe = network.dataset, network.recipe
    stages = "".join(
        f"| {' | '.join(_cells(number, stage))} |\n" for number, stage in enumerate(network.stages, start=1)
    )
    legend = "".join(f"\n{line}.\n" for line in layers_legend(stage.hyperparameters for stage in network.stages))
    how = "all layers at once (Total Learning)"
    if network.learning == "partial":
        how = "stage after stage, each frozen before the next (Partial Learning); the heads between were thrown away"
    return f"""# {network.variant} on {use.name}

A convolutional network for images of {_shape(network.shape)} (channels x height x width) in {use.classes} classes,
trained and exported by stagetune: variant `{network.variant}` of the experiment `{network.name}`
({network.experiment}), phase {network.phase + 1}, seed {network.seed}.

## How good it is

{_result(network)}
The test images had no part in training or in choosing hyperparameters; the validation images chose the latter, so that
validation accuracies are optimistic.

## Use it

```python
from client.exported import load

network = load(".")  # this folder
logits = network(pixels)  # (n, {", ".join(map(str, network.shape))}), uint8 or float from 0 to 255
classes = logits.argmax(1)
```

The preprocessing is inside: give it plain pixels. {_onnx(check)}

## How it was trained

On {use.train:,} images of {use.name} (content {use.digest[:12]}), with {use.validation:,} for validation,
{how}. Hyperparameters were searched for each stage:

| stage | layers | learning rate | regularization | epochs | training acc. | validation acc. | training time |
| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |
{stages}{legend}
- preprocessing: {use.preprocessing}
- optimiser: {recipe.optimizer}, momentum {recipe.momentum:g}, batches of {recipe.batch_size}
- schedule of the learning rate: {recipe.schedule}
- initialisation: {recipe.initialization}
- head: {recipe.head}
- objective of the stages before the last: {recipe.objective}
- inputs of the stages after the first: {"" if recipe.standardize_inputs else "not "}standardised
- precision: {recipe.precision}, tested in {network.test_precision or "float32"}

`config.json` has all of it for programs, with the SHA-256 of every stage's checkpoint on the server.

## Licence

The weights belong to whoever trained them: say here under which licence you pass them on, and keep to that of the
data set. stagetune itself is under the MIT licence.
"""


def _result(network: Network) -> str:
    if network.test_accuracy is None:
        return "It has not been tested yet."
    reached, images = network.test_accuracy, network.test_images
    half = 100 * NOISE_ERRORS * math.sqrt(reached * (1 - reached) / images)
    return (
        f"Test accuracy **{accuracy(reached)}** on all {images:,} test images (from their number alone: "
        f"± {half:.1f} points, 95 %)."
    )


def _onnx(check: Check | None) -> str:
    if check is None:
        return "There is no ONNX file."
    return (
        "`model.onnx` takes `pixels` as float32 from 0 to 255, any number of images, and gives `logits`; over "
        f"{check.images} {check.kind} it differed from the network in float32 by {check.difference:.1e} at most."
    )


def _cells(number: int, stage: NetworkStage) -> list[str]:
    point = stage.hyperparameters
    return [
        str(number), stage.notation, str(Axis.of(point, "learning_rate")), str(Axis.of(point, "regularization")),
        str(stage.epochs), accuracy(stage.training_accuracy), accuracy(stage.validation_accuracy),
        duration(stage.training_seconds),
    ]  # fmt: skip


def _shape(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))
