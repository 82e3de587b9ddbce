"""Names of other libraries: linked to their documentation, stored only where a page uses them."""

import zlib
from collections import Counter
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest
from bs4 import BeautifulSoup

from book.tools import inventories, notebooks, take_inventory
from book.tools.crossref import link
from book.tools.languages import LANGUAGES
from book.tools.names import Names

EDITIONS = tuple(LANGUAGES)
NAMES, MODULES = inventories.targets(inventories.stored())
CELL = '<div class="highlight-ipython3"><pre>{}</pre></div>'
MEAN = "https://numpy.org/doc/stable/reference/generated/numpy.mean.html#numpy.mean"


@pytest.fixture(scope="module")
def html(html):
    """The pages of each edition, by file stem."""
    return {e: {p.stem: page for p, page in html.items() if p.parent.name == e} for e in EDITIONS}


def outward(tag, within="a"):
    """Where the names in a part of a page lead."""
    return Counter(a["href"] for a in tag.select(f"{within}[class=external]"))


@pytest.mark.parametrize("edition", EDITIONS)
def test_a_name_in_code_leads_to_its_documentation_once_a_cell(html, edition):
    total = 0
    for path in (p for p in notebooks.pages() if p.parent.name == edition):
        names, expected = Names(), Counter()
        for cell in (c for c in notebooks.read(path).cells if c.cell_type == "code"):
            uses = names.uses(cell.source)
            used = {use.name for use in uses} & NAMES.keys()
            imported = {use.name for use in uses if use.imported} & MODULES.keys()
            expected.update([*map(NAMES.get, used), *map(MODULES.get, imported)])
        found = outward(html[edition][path.stem], "pre a")
        assert expected <= found, path  # a page shows solutions, too
        total += expected.total()
    assert total > 1000


@pytest.mark.parametrize("edition", EDITIONS)
def test_a_name_in_text_leads_to_its_documentation(html, edition):
    for stem, written, name in (
        ("3_implementierung", "F.layer_norm", "torch.nn.functional.layer_norm"),
        ("3f_welche_norm", "nn.RMSNorm", "torch.nn.RMSNorm"),
        ("referenz_formula", "torch.compile", "torch.compile"),
    ):
        shown = html[edition][stem].select("article :not(a, h1, h2, h3, pre) > code.literal")
        assert written not in [tag.get_text() for tag in shown]
        links = html[edition][stem].select("a[class=external] > code.literal")
        assert (written, NAMES[name]) in [(tag.get_text(), tag.parent["href"]) for tag in links]


def test_only_a_name_that_means_the_library_is_linked():
    page = BeautifulSoup(
        CELL.format("import numpy as np\nnp.<b>mean</b>(np.mean(x), np.mode(x), x.mean())")
        + CELL.format("def f(np): return np.mean(3)")
        + CELL.format("np.mean"),
        "html.parser",
    )
    assert link(page, {"numpy.mean": MEAN}, {"numpy.linalg": "elsewhere"}) == {}
    assert str(page.b.a) == f'<a class="external" href="{MEAN}">mean</a>'
    assert len(page.find_all("a")) == 1


def test_what_is_first_in_a_cell_is_linked_however_deep_it_stands():
    code = "import numpy as np\ndef f(x):\n  return 1 + np.<b>mean</b>(x)\nnp.<i>mean</i>"
    page = BeautifulSoup(CELL.format(code), "html.parser")
    link(page, {"numpy.mean": MEAN}, {})
    assert (len(page.b.find_all("a")), len(page.i.find_all("a"))) == (1, 0)


def test_the_inventories_list_what_the_pages_use_and_no_more(html):
    used = {href for pages in html.values() for page in pages.values() for href in outward(page)}
    stored = {*NAMES.values(), *MODULES.values()}
    assert used == stored, f"run make inventories, or delete there {stored - used}"


@pytest.mark.parametrize("library", inventories.DOCUMENTATION)
def test_a_place_in_an_inventory_has_the_form_of_the_documentation(library):
    names = {n: place for n, place in NAMES.items() if n.split(".")[0] == library}
    assert len(names) > 50
    for name, place in names.items():
        url = urlsplit(place.removeprefix(inventories.DOCUMENTATION[library]))
        page = PurePosixPath(url.path)
        assert (url.scheme, url.netloc, url.fragment, page.suffix) == ("", "", name, ".html")
        assert page.parent.name != "generated" or page.stem == name
    assert f"#module-{library}" in MODULES[library]


def published(lines):
    """An inventory as Sphinx publishes it."""
    head = "# Sphinx inventory version 2\n# Project: NumPy\n# Version: 2.4\n# compressed: zlib\n"
    return head.encode() + zlib.compress("\n".join(lines).encode())


def test_of_a_published_inventory_what_a_page_uses_is_stored():
    page = CELL.format("import numpy as np\nnp.mean(np.linalg.norm(x))\nnp.abs(np.odd)")
    data = published(
        [
            "numpy py:module 0 reference/index.html#module-$ -",
            "numpy.linalg py:module 0 reference/routines.linalg.html#module-$ -",
            "numpy.linalg.norm py:function 1 reference/generated/numpy.linalg.norm.html#$ -",
            "numpy.mean py:function 1 reference/generated/numpy.mean.html#$ -",
            "numpy.odd py:data 1 reference/odd.html#id0 -",
            "numpy.std py:function 1 reference/generated/numpy.std.html#$ -",
            "numpy.abs std:label -1 reference/abs.html#$ -",
        ]
    )
    found = inventories.read(data, "numpy")
    places = take_inventory.wanted([BeautifulSoup(page, "html.parser")], [found])
    text = inventories.text(found, "numpy", places)
    assert text.splitlines() == [
        "# Sphinx inventory version 1",
        "# Project: NumPy",
        "# Version: 2.4",
        "numpy mod reference/index.html",
        "numpy.linalg.norm function reference/generated/numpy.linalg.norm.html",
        "numpy.mean function reference/generated/numpy.mean.html",
    ]
    again = inventories.read(text.encode(), "numpy")
    assert again["py:function"] == {
        name: found["py:function"][name] for name in ("numpy.linalg.norm", "numpy.mean")
    }


@pytest.mark.parametrize("library", inventories.DOCUMENTATION)
def test_a_stored_inventory_is_as_the_tool_writes_it(library):
    text = (inventories.FOLDER / f"{library}.inv").read_text(encoding="utf-8")
    found = inventories.read(text.encode(), library)
    places = {item[2] for items in found.values() for item in items.values()}
    assert inventories.text(found, library, places) == text
