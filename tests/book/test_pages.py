"""The look of the pages: a color means one thing, and is said in one place."""

import matplotlib as mpl
import nbformat
import pytest

from book import BOOK
from lnlib.pages import plots

PAGES = sorted(BOOK.glob("*/*.ipynb"))
LIBRARIES = ("lnlib", "torch", "torch.compile", "Liger", "QuACK", "Apex", "Transformer Engine")


def test_no_library_has_the_color_of_a_method_or_of_another_library():
    libraries = {plots.COLORS[name] for name in LIBRARIES}
    assert len(libraries) == len(LIBRARIES)
    assert not libraries & {c for name, c in plots.COLORS.items() if name not in LIBRARIES}


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
