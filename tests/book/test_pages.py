"""The look of the pages: a color means one thing, and is said in one place."""

import matplotlib as mpl
import nbformat
import numpy as np
import pytest

from book import BOOK
from lnlib.pages import plots

PAGES = sorted(BOOK.glob("*/*.ipynb"))


def test_no_color_means_two_things():
    assert len({c.upper() for c in plots.COLORS.values()}) == len(plots.COLORS)


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_the_places_of_epsilon_stand_out_from_white(place):
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
        for v in mpl.colors.to_rgb(plots.COLORS[place])
    ]
    luminance = np.dot([0.2126, 0.7152, 0.0722], linear)
    assert 1.05 / (luminance + 0.05) > 3  # WCAG 2.2, 1.4.11


@pytest.mark.parametrize("path", PAGES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_pages_take_hues_from_the_palette(path):
    hues = {c for c in plots.COLORS.values() if len(set(mpl.colors.to_rgb(c))) > 1}
    cells = nbformat.read(path, as_version=4).cells
    code = "\n".join(c.source for c in cells if c.cell_type == "code").upper()
    assert not [hue for hue in hues if hue in code]


def test_the_style_is_that_of_the_style_sheet():
    with mpl.rc_context():
        mpl.rcdefaults()
        plots.use_style()
        assert mpl.rcParams["svg.hashsalt"] == "lnlib"
        assert mpl.rcParams["grid.color"] == "#e6e6e6"
        assert mpl.rcParams["figure.figsize"] == [5.5, 3.3]
