"""One look for every figure and table of the book.

Figures are SVG on opaque white: readable in any notebook, and the site inverts them in dark mode.
The palette is Okabe and Ito's, safe for color-blind readers; a method keeps its color everywhere.

Source: Okabe, Ito (2008), https://jfly.uni-koeln.de/color/.
"""

from collections.abc import Iterable, Sequence
from types import MappingProxyType

import matplotlib as mpl
import numpy as np
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib_inline.backend_inline import set_matplotlib_formats

COLORS = MappingProxyType(
    {
        "LN": "#0072B2",
        "RMS": "#56B4E9",
        "BN": "#D55E00",
        "GN": "#009E73",
        "IN": "#CC79A7",
        "none": "#666666",
        "inside": "#0072B2",
        "outside": "#D55E00",
        "accent": "#E69F00",
        "muted": "#999999",
    }
)


def use_style() -> None:
    """Set matplotlib and the notebook's inline backend to the book's style.

    Example:
        >>> use_style()
        >>> mpl.rcParams["axes.spines.top"]
        False
    """
    mpl.rcParams.update(
        {
            "figure.figsize": (5.5, 3.3),  # letters of 10 points are legible as wide as a phone
            "figure.facecolor": "white",
            "axes.facecolor": "white",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.labelsize": 10.5,
            "axes.titlesize": 11.5,
            "axes.titlelocation": "left",
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e6e6e6",
            "grid.linewidth": 0.8,
            "lines.linewidth": 2.0,
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
            "svg.hashsalt": "lnlib",
        }
    )
    set_matplotlib_formats("svg", bbox_inches="tight", metadata={"Date": None})  # type: ignore[no-untyped-call]


def name_curve(axes: Axes, line: Line2D, name: str, below: bool = False) -> None:
    """Write a curve's name at its right end, inside the frame."""
    axes.annotate(
        name,
        np.asarray(line.get_xydata())[-1],
        (0, -5 if below else 5),
        textcoords="offset points",
        color=line.get_color(),
        ha="right",
        va="top" if below else "bottom",
    )


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Markdown:
    """Return a table that notebooks and pages typeset.

    Example:
        >>> print(table(["", "found"], [["ε", True]]).data)
        |  | found |
        | --- | --- |
        | ε | True |
    """
    lines = (header, ["---"] * len(header), *rows)
    return Markdown("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))
