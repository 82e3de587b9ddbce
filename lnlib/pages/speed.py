"""Draw what `lnlib.kernels.bench` has measured.

python -m lnlib.pages.speed my_gpu.json  # writes layer_norm.svg and rms_norm.svg beside it
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from lnlib.kernels.problems import PLAIN, sweep
from lnlib.kernels.results import Result, load, predicted
from lnlib.pages import plots


def draw(results: list[Result], operation: str, dtype: str) -> Any:
    """Draw the fraction of the copy's bandwidth over the row length, one line per contender.

    The gray band is what the bytes predict for our kernels.
    """
    figure, panels = plt.subplots(1, 2, figsize=(5.8, 3.2), sharey=True)
    for axes, passed in zip(panels, ("forward", "backward"), strict=True):
        lines: dict[str, list[tuple[int, float]]] = {}
        for r in results:
            kind = (r.operation, r.dtype, r.passed, r.why)
            if kind == (operation, dtype, passed, "sweep") and r.of_copy is not None:
                lines.setdefault(r.contender, []).append((r.columns, r.of_copy))
        shapes = sweep(widths=[round(2 ** (k / 32)) for k in range(256, 513)])
        bounds = [predicted(shape, passed) for shape in shapes]
        axes.fill_between(
            [shape.columns for shape in shapes],
            *np.transpose(bounds),
            color=plots.COLORS["muted"],
            alpha=0.6,
            lw=3,
        )
        for name, points in lines.items():
            widths, fractions = zip(*sorted(points), strict=True)
            (line,) = axes.plot(widths, fractions, "o-", color=plots.COLORS.get(name), ms=3)
            plots.name_curve(axes, line, name)
        axes.set(title=passed, xlabel="row length N", ylim=(0, 1.05), xscale="log")
        axes.axhline(1, color=plots.COLORS["muted"], lw=1, ls=":")
    panels[0].set_ylabel("fraction of the copy")
    return figure


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m lnlib.pages.speed", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("recording", type=Path, help="a file that `lnlib.kernels.bench` wrote")
    recording = parser.parse_args().recording
    plots.use_style()
    _, results = load(recording)
    for operation in PLAIN:
        figure = draw(results, operation, results[0].dtype)
        figure.savefig(recording.with_name(f"{operation}.svg"))


if __name__ == "__main__":
    main()
