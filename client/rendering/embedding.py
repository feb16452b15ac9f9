"""A t-SNE embedding as a picture, a panel a stage, and as a table of coordinates."""

import math
from typing import TYPE_CHECKING

from client.console import plain
from client.rendering.canvas import drawing
from client.rendering.csv import as_csv
from client.rendering.text import duration
from contract.networks import Embedding, EmbeddingStage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CSV_COLUMNS = ("stage", "layers", "image", "class", "x", "y", "class_name")
PANEL_INCHES = 3.6
PANELS_ABREAST = 4
MOST_VECTORS = 20_000
"""More points than this are pixels inside the SVG; it would take browsers seconds to draw them."""
MOST_NUMBERS = 20
LONGEST_NAME = 24
LEGEND_ROWS = 20
MOST_LEGEND = 100
"""Classes; with more the legend would be larger than the pictures, and no two colours could be told apart."""
MARKER_INCHES = 0.6
"""What a column of the legend takes beside its letters."""
LETTER_INCHES = 0.075


def draw_embedding(embedding: Embedding, title: str) -> "Figure":
    """A panel for each stage; colours are classes, whose numbers stand in the middle of their points.

    The legend has their names as well, where the data set has any.
    """
    from matplotlib.figure import Figure

    stages = embedding.stages
    columns = min(len(stages), PANELS_ABREAST)
    rows = math.ceil(len(stages) / columns)
    classes = sorted(set(embedding.labels))
    names = [_named(embedding, label) for label in classes] if len(classes) <= MOST_LEGEND else []
    abreast = math.ceil(len(names) / LEGEND_ROWS)
    legend = abreast * (MARKER_INCHES + LETTER_INCHES * max(map(len, names), default=0))
    with drawing():
        figure = Figure(figsize=(PANEL_INCHES * columns + legend, PANEL_INCHES * rows + 0.8), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for number, place in enumerate(axes):
            if number < len(stages):
                _panel(place, embedding, number, classes)
            else:
                place.set_axis_off()
        figure.suptitle(title, fontweight="bold")
        if names:
            handles, _ = axes[0].get_legend_handles_labels()
            larger = 6 / math.sqrt(_size(embedding.points))
            figure.legend(
                handles, names, title="class", loc="outside right center", ncols=abreast, markerscale=larger,
                handlelength=1,
            )  # fmt: skip
    return figure


def write_coordinates(embedding: Embedding) -> str:
    """CSV, a line for each point and stage; stages count from 1, images from 0 in the test set."""
    rows = (
        (number, stage.stage, image, label, x, y, _name(embedding, label))
        for number, stage in enumerate(embedding.stages, start=1)
        for image, label, (x, y) in zip(embedding.images, embedding.labels, stage.coordinates, strict=True)
    )
    return as_csv(CSV_COLUMNS, rows)


def _name(embedding: Embedding, label: int) -> str:
    """Of a class; empty where nobody named it."""
    return embedding.class_names[label] if label < len(embedding.class_names) else ""


def _named(embedding: Embedding, label: int) -> str:
    """`3 cat`, or the number alone; of a very long name the beginning."""
    name = plain(_name(embedding, label))
    shown = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    return f"{label} {shown}".rstrip()


def _panel(axes: "Axes", embedding: Embedding, number: int, classes: list[int]) -> None:
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.patheffects import withStroke

    stage = embedding.stages[number]
    points, labels = np.array(stage.coordinates), np.array(embedding.labels)
    pixels = len(points) * len(embedding.stages) > MOST_VECTORS
    palette = colormaps["tab10" if len(classes) <= 10 else "tab20" if len(classes) <= 20 else "hsv"]
    for index, label in enumerate(classes):
        own = points[labels == label]
        colour = palette(index if len(classes) <= 20 else index / len(classes))
        axes.scatter(
            own[:, 0],
            own[:, 1],
            s=_size(len(points)),
            color=colour,
            linewidths=0,
            alpha=0.75,
            label=str(label),
            rasterized=pixels,
        )
        if len(classes) <= MOST_NUMBERS:
            x, y = np.median(own, 0)
            halo = [withStroke(linewidth=2.5, foreground="white")]
            axes.text(x, y, str(label), fontsize=11, fontweight="bold", ha="center", va="center", path_effects=halo)
    axes.set(xticks=[], yticks=[], title=_title(number, stage))
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[["top", "right"]].set_visible(True)
    for spine in axes.spines.values():
        spine.set_color("#bbbbbb")


def _size(points: int) -> float:
    """The area of a point."""
    return 14 if points < 1500 else 6 if points < 4000 else 3


def _title(number: int, stage: EmbeddingStage) -> str:
    layers = stage.stage if len(stage.stage) <= 34 else f"{stage.stage[:16]}…{stage.stage[-17:]}"
    facts = f"{stage.dimensions:,} dimensions → {stage.components} → 2, {duration(stage.seconds)}"
    return f"{number + 1}. {layers}\n{facts}"
