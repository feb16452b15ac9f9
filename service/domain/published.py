"""What the paper published: the networks of its Table 1 and the lines of its Tables 2 and 3."""

from collections.abc import Iterable
from dataclasses import dataclass

from service.domain.experiment import ExperimentSpec, Split
from service.domain.layers import Layer
from service.domain.notation import write
from service.domain.states import Learning, Objective, Schedule, Scheme


@dataclass(frozen=True, slots=True)
class PublishedLine:
    """A column of Table 2 or 3; learning rates and regularizations are by stage, 0.0 is what the paper rounded so.

    ``seconds`` are its training time on the author's machine, the accuracies those of the chosen hyperparameters.
    """

    table: int
    architecture: str
    epochs: int
    learning_rates: tuple[float, ...]
    regularizations: tuple[float, ...]
    seconds: float
    training_accuracy: float
    validation_accuracy: float


NETWORKS = {
    "CNN 1": ("Conv-3-32 Conv-3-32 Pool-2",),
    "CNN 2": ("Conv-3-32", "Conv-3-32 Pool-2"),
    "CNN 3": ("Conv-3-32 Conv-1-32", "Conv-3-32 Conv-1-32 Pool-2"),
    "CNN 4": ("Conv-3-32 Conv-3-32", "Conv-3-32 Conv-3-32 Pool-2"),
    "CNN 5": ("Conv-3-32 Conv-1-32 Pool-2", "Conv-3-32 Conv-1-32 Pool-2"),
    "CNN 6": ("Conv-3-32 Conv-3-32 Pool-2", "Conv-3-32 Conv-3-32 Pool-2"),
    "CNN 7": ("Conv-3-32 Conv-1-32 Pool-2", "Conv-3-32 Conv-1-32 Pool-2", "Conv-3-32 Conv-1-32 Pool-2"),
    "CNN 8": ("Conv-3-32 Conv-3-32 Pool-2", "Conv-3-32 Conv-3-32 Pool-2", "Conv-3-32 Conv-3-32 Pool-2"),
}
"""Table 1: every network's stages."""

LINES = (
    PublishedLine(2, "CNN 1", 1, (6.9e-05,), (0.282346,), 2767.89, 0.535, 0.54),
    PublishedLine(2, "CNN 2", 1, (0.0001, 0.000721), (1.0, 0.481662), 2762.73, 0.474, 0.51),
    PublishedLine(2, "CNN 3", 1, (0.003244, 0.008321), (0.15325, 0.000687), 4750.57, 0.463, 0.46),
    PublishedLine(2, "CNN 4", 1, (0.000269, 0.005026), (0.074457, 0.067618), 6753.39, 0.537, 0.531),
    PublishedLine(2, "CNN 5", 1, (0.000547, 0.000111), (0.131378, 0.018597), 2881.07, 0.135, 0.144),
    PublishedLine(2, "CNN 6", 1, (6.9e-05, 0.000957), (0.282346, 0.023609), 5106.26, 0.465, 0.512),
    PublishedLine(2, "CNN 7", 1, (0.000547, 0.000111, 0.0), (0.131378, 0.018597, 0.875551), 4265.47, 0.122, 0.127),
    PublishedLine(2, "CNN 8", 1, (6.9e-05, 0.000957, 0.009278), (0.282346, 0.023609, 0.001889), 7104.93, 0.501, 0.531),
    PublishedLine(3, "CNN 1", 2, (0.000705,), (0.018425,), 5499.41, 0.654, 0.618),
    PublishedLine(3, "CNN 2", 2, (0.0001, 0.000128), (1.0, 0.302135), 6436.17, 0.529, 0.553),
    PublishedLine(3, "CNN 3", 2, (0.000146, 0.000216), (0.994257, 0.226451), 8748.34, 0.201, 0.223),
    PublishedLine(3, "CNN 4", 2, (0.00034, 0.012252), (0.067439, 0.1057), 14565.57, 0.508, 0.542),
    PublishedLine(3, "CNN 5", 2, (0.000761, 0.017744), (0.078767, 0.004098), 5709.78, 0.677, 0.63),
    PublishedLine(3, "CNN 6", 2, (0.000705, 0.000602), (0.018425, 0.006584), 9950.23, 0.549, 0.573),
    PublishedLine(3, "CNN 7", 2, (0.000761, 0.017744, 2.1e-05), (0.078767, 0.004098, 8.292548), 8036.87, 0.113, 0.134),
    PublishedLine(3, "CNN 8", 2, (0.000705, 0.000602, 0.00018), (0.018425, 0.006584, 1.096897), 13911.29, 0.161, 0.212),
)

PROTOCOL = Split(train=49_000, validation=1_000, preprocessing="mean-image")
"""Section 4.1 and CS231n's code, with which the author began."""
BATCH_SIZE = 50


def follows_protocol(spec: ExperimentSpec) -> bool:
    """Whether figures of an experiment may stand beside the published ones: same images, batches, heads, stage inputs.

    What the paper leaves open does not count (momentum, initialisation, precision), nor does the search: its sampler,
    space and number of trials are what may be better or worse.
    """
    recipe = spec.recipe
    return (
        (spec.dataset.name, spec.split) == ("cifar10", PROTOCOL)
        and (recipe.batch_size, recipe.optimizer, recipe.head) == (BATCH_SIZE, "sgd", "linear")
        and (recipe.objective, recipe.schedule) == (Objective.CLASSIFICATION, Schedule.CONSTANT)
        # Section 3.1: a stage's output is exactly the next one's input, and a stage has one pair of hyperparameters.
        and not recipe.standardize_inputs
        and spec.search.scheme is Scheme.PER_STAGE
    )


def published(stages: Iterable[Iterable[Layer]], learning: Learning, epochs: int) -> PublishedLine | None:
    """The published line of a network with these cuts, whatever its name; None for what the paper did not train.

    It trained CNN 1, which is one stage, with Total Learning and all others with Partial Learning.
    """
    cut = tuple(write(stage) for stage in stages)
    if learning is not (Learning.TOTAL if len(cut) == 1 else Learning.PARTIAL):
        return None
    return next((line for line in LINES if line.epochs == epochs and NETWORKS[line.architecture] == cut), None)
