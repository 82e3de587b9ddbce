"""The reference of lnlib: every public name, no other, linked from the code that uses it."""

import importlib
import inspect
import re

import pytest
from books import write_small_book
from bs4 import BeautifulSoup

import lnlib
from book import ROOT
from book.tools import build, library, notebooks
from book.tools.configuration import contents
from book.tools.crossref import link
from book.tools.languages import FIRST, LANGUAGES
from book.tools.names import REFERENCE, Names, Use

EDITIONS = tuple(LANGUAGES)
STEMS = [stem for stem in contents() if stem.startswith(REFERENCE)]
ROOMS = ["lnlib", *(f"lnlib.{room}" for room in lnlib.ROOMS if room != "pages")]
PUBLIC = {name for entry in library.entries() for name in (entry.name, *entry.others)}


@pytest.fixture(scope="module")
def html(html):
    """The pages of each edition, by file stem."""
    return {e: {p.stem: page for p, page in html.items() if p.parent.name == e} for e in EDITIONS}


def sections(pages):
    """The entries of an edition, by their anchor."""
    return {tag["id"]: tag for stem in STEMS for tag in pages[stem].find_all(class_="entry")}


@pytest.mark.parametrize("name", ROOMS)
def test_what_a_room_offers_when_imported_is_public(name):
    room = importlib.import_module(name)
    own = [n for n, v in vars(room).items() if getattr(v, "__module__", None) == name]
    offered = getattr(room, "__all__", [n for n in own if not n.startswith("_")])
    found = [n for n in offered if inspect.isroutine(v := getattr(room, n)) or inspect.isclass(v)]
    assert {f"{name}.{n}" for n in found} <= PUBLIC


def test_every_public_name_can_be_imported():
    for entry in library.entries():
        objects = set()
        for name in (entry.name, *entry.others):
            module, _, last = name.rpartition(".")
            if "lnlib.kernels." not in name:  # some need Triton
                objects.add(getattr(importlib.import_module(module), last))
        assert len(objects) <= 1, entry.name


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_public_name_has_an_entry_and_no_other(html, edition):
    found = sections(html[edition])
    assert [*found] == [entry.name for entry in library.entries()]
    ids = {tag["id"] for entry in found.values() for tag in entry.find_all(id=True)}
    assert ids | found.keys() == PUBLIC
    assert not [name for name in PUBLIC if "._" in name]


def test_a_room_has_a_page_and_a_page_a_room():
    rooms = dict.fromkeys(entry.room for entry in library.entries())
    assert [REFERENCE, *map(library.page_of, rooms)] == STEMS


@pytest.mark.parametrize("edition", EDITIONS)
def test_an_entry_shows_call_sentence_and_source(html, edition):
    found = sections(html[edition])
    for entry in library.entries():
        section = found[entry.name]
        last = entry.name.rpartition(".")[2]
        assert section.select_one(".signature pre").get_text().startswith(f"{last}(")
        described = section.select_one(".docstring")
        assert described.p.get_text()
        assert described["lang"] == "en"
        kind = "class" if entry.item.is_class else "def"
        assert f"{kind} {entry.item.name}" in section.select_one(".source pre").get_text()
        text = described.get_text() if not described.find("pre") else ""
        assert not re.search(r"\$|`|^ *(?:Args|Raises|Returns|Example):", text, re.M), entry.name


def test_an_entry_leads_to_its_line_in_the_repository(tmp_path):
    folder = write_small_book(tmp_path)
    page = folder / "book" / FIRST / f"{library.page_of('lnlib.layout')}.md"
    page.write_text("# `lnlib.layout`\n\n```{reference} lnlib.layout\n```\n")
    with (folder / "_toc.yml").open("a") as toc:
        toc.write(f"- file: book/{FIRST}/{page.stem}\n")
    repository = "https://github.com/example/layer-normalization"
    build.build([FIRST], repository, folder)
    text = (folder / "_build" / "site" / FIRST / f"{page.stem}.html").read_text(encoding="utf-8")
    entries = BeautifulSoup(text, "html.parser").find_all(class_="entry")
    assert entries
    for entry in entries:
        (link,) = entry.select(".source a.external")
        file, line = link["href"].removeprefix(f"{repository}/blob/HEAD/").split("#L")
        name = entry["id"].rpartition(".")[2]
        assert re.search(rf"\b{name}\b|^@", (ROOT / file).read_text().splitlines()[int(line) - 1])


@pytest.mark.parametrize("edition", EDITIONS)
def test_formulas_errors_and_examples_are_shown(html, edition):
    section = sections(html[edition])["lnlib.reference.layer_norm"]
    assert section.select_one("div.math math")
    arguments = [tag.get_text() for tag in section.select(".parameters > dt")]
    assert arguments[:2] == ["input", "normalized_shape"]
    assert {tag.get_text() for tag in section.select(".raises > dt")} >= {"ValueError"}
    assert section.select_one(".example pre").get_text().startswith(">>> ")
    assert section.select(".docstring a[href^='https://arxiv.org']")


@pytest.mark.parametrize("edition", EDITIONS)
def test_code_leads_to_the_entries_and_the_entries_back(html, edition):
    found = sections(html[edition])
    homes = {n: e.name for e in library.entries() for n in (e.name, *e.others)}
    for path in (p for p in notebooks.pages() if p.parent.name == edition):
        names, page = Names(), html[edition][path.stem]
        cells = (c.source for c in notebooks.read(path).cells if c.cell_type == "code")
        used = {use.name for cell in cells for use in names.uses(cell)} & PUBLIC
        for name in used:
            tag = page.find(id=f"use-{name}")
            target = f"{library.page_of(_room(homes[name]))}.html#{name}"
            assert (tag["href"], tag.get_text()) == (target, name.rpartition(".")[2]), path
            back = found[homes[name]].select(f".uses a[href^='{path.stem}.html#use-']")
            assert len(back) == 1, (path, name)
    assert sum(len(entry.select(".uses a")) for entry in found.values()) > 150


def _room(name):
    return next(entry.room for entry in library.entries() if entry.name == name)


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["import lnlib", "lnlib.LayerNorm(3)"], ["lnlib.LayerNorm"]),
        (["from lnlib import functional as F\nF.rms_norm(x)"], ["lnlib.functional.rms_norm"]),
        (["%pip install lnlib\nfrom lnlib.experiments import paired", "paired(a, b).mean"],
         ["lnlib.experiments.paired"]),
        (["from lnlib.experiments import train", "train = 3", "train"], []),
        (["from lnlib.experiments import train", "def f(train): return train"], []),
        (["import lnlib\nlnlib.identify(f, (8, 16))"], ["lnlib.identify.identify"]),
        (["import torch\ntorch.rsqrt(x)", "no python"], ["torch.rsqrt", "torch"]),
    ],
)  # fmt: skip
def test_names_in_code(cells, names):
    reader = Names()
    uses = [use for cell in cells for use in reader.uses(cell) if not use.imported]
    assert [u.name for u in uses if u.name not in {"lnlib", "lnlib.functional"}] == [
        *names,
        *(["lnlib.identify"] if "lnlib.identify.identify" in names else []),
    ]


def test_a_name_stands_where_it_is_said_to():
    names = Names()
    assert names.uses("import lnlib.kernels") == [Use("lnlib.kernels", 0, 13, imported=True)]
    (use, _, _) = names.uses('s = "γβ"; lnlib.kernels.\\\n  layer_norm')
    assert use == Use("lnlib.kernels.layer_norm", 1, 2)


def test_in_a_cell_the_first_use_is_linked_and_in_text_every_name():
    cell = '<div class="highlight-ipython3"><pre>{}</pre></div>'
    code = "from lnlib import <b>functional</b>\nfunctional.<b>rms_norm</b>(functional.rms_norm(x))"
    text = '<code class="literal">functional.rms_norm(x)</code>'
    page = BeautifulSoup(f"{cell.format(code)}{text}<h2>{text}</h2>", "html.parser")
    name = "lnlib.functional.rms_norm"
    places = link(page, {name: f"f.html#{name}"}, {"lnlib.functional": "f.html"})
    assert places == {name: f"use-{name}"}
    found = [(a["href"], a.get_text()) for a in page.find_all("a")]
    assert found == [
        ("f.html", "functional"),
        (f"f.html#{name}", "rms_norm"),
        (f"f.html#{name}", "functional.rms_norm(x)"),
    ]


def test_the_pages_of_the_first_language_decide_what_is_used():
    pages = {p.name for p in notebooks.pages() if p.parent.name == FIRST}
    assert pages <= {path.name for path in library.sources()}
