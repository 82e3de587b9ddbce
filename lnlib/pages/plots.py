"""One look for every figure and table of the book.

Figures are SVG on opaque white: readable in any notebook, and the site inverts them in dark mode.
The colors are safe for color-blind readers; a method keeps its own everywhere, and so does a
library in the benchmarks. Everything else about the look is in `book.mplstyle`.

Sources: Okabe, Ito (2008), https://jfly.uni-koeln.de/color/, for the methods; Tol (2021), scheme
"muted", https://personal.sron.nl/~pault/, for the libraries; Harrower, Brewer (2003), schemes
"PuOr" and "BrBG", https://colorbrewer2.org, for the two places of ε.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from IPython.display import Markdown
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib_inline.backend_inline import set_matplotlib_formats

if TYPE_CHECKING:
    from lnlib.experiments import Paired

COLORS = MappingProxyType(
    {
        "LN": "#0072B2",
        "RMS": "#56B4E9",
        "BN": "#D55E00",
        "GN": "#009E73",
        "IN": "#CC79A7",
        "none": "#666666",
        "inside": "#5E3C99",
        "outside": "#8C510A",
        "accent": "#E69F00",
        "muted": "#999999",
        "lnlib": "#332288",
        "torch": "#CC6677",
        "torch.compile": "#882255",
        "Liger": "#117733",
        "QuACK": "#999933",
        "Apex": "#44AA99",
        "Transformer Engine": "#AA4499",
    }
)


def use_style() -> None:
    """Set matplotlib and the notebook's inline backend to the book's style.

    Example:
        >>> use_style()
        >>> from matplotlib import rcParams
        >>> rcParams["axes.spines.top"]
        False
    """
    style.use("lnlib.pages.book")
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


def show_pairs(axes: Axes, comparisons: "Mapping[str, Paired]") -> None:
    """Draw comparisons line by line: every pair, and Student's 95 % interval of the mean.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> from lnlib.experiments import paired
        >>> figure, axes = plt.subplots()
        >>> show_pairs(axes, {"A − B": paired([1, 2, 4], [0, 0, 1])})
        >>> [label.get_text() for label in axes.get_yticklabels()]
        ['A − B']
        >>> plt.close(figure)
    """
    axes.axvline(0, color=COLORS["muted"], lw=1)
    for line, found in enumerate(comparisons.values()):
        axes.plot(found.differences, [line] * found.n, "o", color=COLORS["none"], ms=4, alpha=0.4)
        axes.plot(found.interval(), [line, line], color=COLORS["LN"], lw=3)
        axes.plot(found.mean, line, "o", color=COLORS["LN"], ms=7)
    axes.set_yticks(range(len(comparisons)), comparisons)
    axes.set_ylim(len(comparisons) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def table(
    header: Sequence[str], rows: Iterable[Sequence[object]], words: int | None = None
) -> Markdown:
    """Return a table that notebooks and pages typeset.

    Args:
        header: the names of the columns.
        rows: their cells.
        words: how many columns, from the left, hold words; the others hold numbers, flush right.
            By default all hold words.

    Example:
        >>> print(table(["", "found"], [["ε", True]]).data)
        |  | found |
        | --- | --- |
        | ε | True |
        >>> print(table(["", "ε"], [["Keras", 0.001]], words=1).data)
        |  | ε |
        | --- | --: |
        | Keras | 0.001 |
    """
    marks = ["---" if words is None or i < words else "--:" for i in range(len(header))]
    lines = (header, marks, *rows)
    return Markdown("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))
