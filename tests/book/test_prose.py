"""The notebooks that readers open elsewhere: no markup of Sphinx, no dead link, the same code."""

import re
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from markdown_it import MarkdownIt

from book import BOOK
from book.tools import notebooks, prose
from book.tools.configuration import contents
from book.tools.reading import caption, markdown

EDITIONS = ("de", "en")
MARKUP = re.compile(r"\{[\w:]+\}`|^:::|^\([\w-]+\)=$|^:[\w-]+:|<div", re.MULTILINE)
COMMONMARK = MarkdownIt("commonmark").enable("table")
CAPTION = re.compile(r"^\*((?:Abb|Fig)\. \d+): .+\*$", re.MULTILINE)
PAGE = prose.Page("page.ipynb", None)
GLOSSARY = "7_verwandte_themen"


@pytest.fixture(scope="module")
def books():
    return {code: prose.edition(BOOK / code, code, "../", contents()) for code in EDITIONS}


@pytest.fixture(scope="module", params=EDITIONS)
def edition(request):
    return request.param


@pytest.fixture(scope="module")
def written(edition, site):
    """What the site offers for download, by file name."""
    folder = site / edition / "_sources"
    return {path.name: notebooks.read(path) for path in folder.glob("*.ipynb")}


def text(cell):
    """Return the text of a cell without formulas and code."""
    return re.sub(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$", "", cell.source, flags=re.DOTALL)


def links(source):
    for token in COMMONMARK.parse(source):
        for child in token.children or ():
            if child.type == "link_open":
                yield child.attrs["href"]


def test_every_notebook_is_offered(written):
    assert len(written) == len(notebooks.pages()) / len(EDITIONS)


def test_no_markup_of_sphinx_is_left(written):
    for name, page in written.items():
        for cell in page.cells:
            if cell.cell_type == "markdown":
                assert MARKUP.findall(text(cell)) == [], (name, cell.id)


def test_links_lead_somewhere(written, site, edition):
    anchors = {
        name: {a for c in page.cells for a in re.findall(r'<a id="([^"]+)">', c.source)}
        for name, page in written.items()
    }
    for name, page in written.items():
        for href in (h for c in page.cells if c.cell_type == "markdown" for h in links(c.source)):
            parts = urlsplit(href)
            if parts.scheme:
                assert parts.scheme == "https", (name, href)
            elif parts.path.startswith("../"):
                other = site / edition / parts.path.removeprefix("../")
                anchor = f'id="{parts.fragment}"' if parts.fragment else ""
                assert anchor in other.read_text(encoding="utf-8"), (name, href)
            else:
                target = parts.path or name
                assert target in written, (name, href)
                assert not parts.fragment or parts.fragment in anchors[target], (name, href)


def test_notebooks_link_the_terms_that_pages_link(written, html, site, edition):
    linked = 0
    for name, page in written.items():
        shown = html[site / edition / name.replace(".ipynb", ".html")].select("article a.term")
        terms = {link: urlsplit(link["href"]).fragment.lower() for link in shown}
        outside = {
            term for link, term in terms.items() if not link.find_parent(class_="cell_output")
        }
        cells = (c.source for c in page.cells if c.cell_type == "markdown")
        found = [urlsplit(h).fragment for source in cells for h in links(source) if "#term-" in h]
        assert outside <= set(found) <= set(terms.values()), name
        assert len(found) == len(set(found)) or name.startswith(GLOSSARY), name
        linked += len(found)
    assert linked > 200


def test_figures_have_the_caption_and_the_number_of_the_page_below_them(
    written, html, site, edition
):
    for name, page in written.items():
        shown = html[site / edition / name.replace(".ipynb", ".html")].select(
            "article figure:not(.drawing, .solved figure) figcaption .caption-number"
        )
        said = CAPTION.findall(markdown(page))
        assert said == [number.get_text(strip=True) for number in shown], name
        for cell, below in pairwise(page.cells):
            assert not caption(cell)[1] or CAPTION.match(below.source), (name, cell.id)


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_exercise_has_its_solution_folded_below(books, edition):
    book, page = books[edition], "1a_rueckwaertspass.ipynb"
    assert len(book.exercises) == len(book.solutions) > 80
    text = markdown(prose.prose(notebooks.read(BOOK / edition / page), page, book))
    assert text.count(f"<summary>{book.words['solution']}</summary>") == 6
    assert "```python" in text


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_cell_to_start_from_stands_between_an_exercise_and_what_is_folded(books, edition):
    book, page = books[edition], "1a_rueckwaertspass.ipynb"
    cells = prose.prose(notebooks.read(BOOK / edition / page), page, book).cells
    (at,) = (i for i, cell in enumerate(cells) if cell.id == "ex-back-outside-start")
    above, below = cells[at - 1].source, cells[at + 1].source
    assert "<details>" not in above[above.index('<a id="ex-back-outside">') :]
    assert re.findall(r"<summary>(.*)</summary>", below)[1:] == [book.words["solution"]]
    assert below.startswith("<details>")
    assert len({cell.id for cell in cells}) == len(cells)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("(sec-a)=\n## A", '<a id="sec-a"></a>\n\n## A'),
        ("so {index}`ε <single: ε; threshold>` is", "so ε is"),
        ("see {cite:t}`ba2016layer`.", "see [Ba et al. (2016)](https://arxiv.org/abs/1607.06450)."),
        (
            "so {cite:p}`ioffe2015batch, ba2016layer`",
            "so ([Ioffe and Szegedy, 2015](https://arxiv.org/abs/1502.03167); "
            "[Ba et al., 2016](https://arxiv.org/abs/1607.06450))",
        ),
        ("[back](#sec-backward)", "[back](1a_rueckwaertspass.ipynb#sec-backward)"),
        ("[claims](behauptungen.md)", "[claims](../behauptungen.md)"),
        ("[here](https://a.org/b#c)", "[here](https://a.org/b#c)"),
        (
            'A\n\n<div data-widget="sphere"></div>\n\nB',
            "A\n\n[Open on the website](../page.html)\n\nB",
        ),
        (
            "::::{dropdown} Hint\nSee {index}`A`.\n::::",
            "<details>\n<summary>Hint</summary>\n\nSee A.\n\n</details>\n",
        ),
        (
            ":::{figure} ../a.svg\n:name: fig-0-failing-plot\n:alt: A.\n\n{index}`So` it is.\n:::",
            "![A.](../_images/a.svg)\n\n*Fig. 2: So it is.*\n",
        ),
        ("code `{cite}` and $a_{cite}$ stay", "code `{cite}` and $a_{cite}$ stay"),
    ],
)  # fmt: skip
def test_markup_becomes_prose(books, before, after):
    assert prose.plain(before, PAGE, books["en"]) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Two LNs, one LN", "Two [LNs](TERM), one LN"),
        ("# LN\n\n> LN\n\n[LN](a.md), `LN`, $LN$, **LN**", "**[LN](TERM)**"),
        ("1 \\* LN &amp; LN", "1 \\* [LN](TERM) &amp; LN"),
        ("an {index}`LN <single: norm; LN>`", "an [LN](TERM)"),
        (":::{dropdown} LN\nLN\n:::", "<summary>LN</summary>\n\n[LN](TERM)"),
        ("{cite:p}`ba2016layer` LN", "2016](https://arxiv.org/abs/1607.06450)) [LN](TERM)"),
    ],
)  # fmt: skip
def test_the_first_use_of_a_term_leads_to_the_glossary(books, before, after):
    after = after.replace("TERM", f"{GLOSSARY}.ipynb#term-layer-normalization")
    text = prose.plain(before, books["en"].page("page.ipynb"), books["en"])
    assert after in text
    assert text.count(GLOSSARY) == 1


@pytest.mark.parametrize("unknown", [":::{table} a\n:::", "a {abbr}`b`"])
def test_markup_that_is_not_known_is_an_error(books, unknown):
    with pytest.raises(KeyError):
        prose.plain(unknown, PAGE, books["en"])
