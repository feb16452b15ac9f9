"""Matplotlib's figures as SVG and PNG: no window, no machine's settings, the same bytes for the same figure."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C6D31")
MARKERS = "os^DvP*X<>hp"
DASHES = ("-", "--", "-.", ":")
PNG_DPI = 150


@contextmanager
def drawing() -> Iterator[None]:
    """Settings of every figure of ours, whatever this machine's matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none", "svg.hashsalt": "stagetune", "text.parse_math": False,
                "font.family": "sans-serif",
                "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"], "font.size": 9,
                "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd",
                "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.titlesize": 9.5, "axes.titleweight": "bold",
                "axes.titlelocation": "left", "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.4,
            }
        )  # fmt: skip
        yield


def svg(figure: "Figure") -> str:
    """The figure as a standalone SVG file."""
    text = io.StringIO()
    with drawing():
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def inline_svg(figure: "Figure", name: str) -> str:
    """The figure for the middle of an HTML page: no prolog, ids of its own, as wide as there is room."""
    text = svg(figure)
    text = text[text.index("<svg") :].replace("xlink:href", "href")
    # A page has its own style, and what only a file of its own needs would look like addresses of other servers.
    text = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{name}-", text)
    return re.sub(
        r'(<svg[^>]*?) width="([\d.]+)pt" height="[\d.]+pt"', r'\1 width="100%" style="max-width:\2pt"', text, count=1
    )


def png(figure: "Figure") -> bytes:
    """The figure as pixels."""
    content = io.BytesIO()
    with drawing():
        figure.savefig(content, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return content.getvalue()
