"""The notebooks that readers open elsewhere: no markup of Sphinx, no dead link, the same code."""

import re
from urllib.parse import urlsplit

import pytest
from markdown_it import MarkdownIt

from book import BOOK
from book.tools import notebooks, prose
from book.tools.configuration import contents
from book.tools.reading import markdown

EDITIONS = ("de", "en")
MARKUP = re.compile(r"\{[\w:]+\}`|^:::|^\([\w-]+\)=$|^:[\w-]+:|<div", re.MULTILINE)
COMMONMARK = MarkdownIt("commonmark").enable("table")
PAGE = "page.ipynb"


@pytest.fixture(scope="module")
def books():
    return {code: prose.edition(BOOK / code, code, "../", contents()) for code in EDITIONS}


@pytest.fixture(scope="module", params=EDITIONS)
def written(request, site):
    """What the site offers for download, by file name."""
    folder = site / request.param / "_sources"
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


def test_links_lead_somewhere(written, site):
    anchors = {
        name: {a for c in page.cells for a in re.findall(r'<a id="([^"]+)">', c.source)}
        for name, page in written.items()
    }
    edition = "de" if "Lösungen" in written["loesungen.ipynb"].cells[0].source else "en"
    for name, page in written.items():
        for href in (h for c in page.cells if c.cell_type == "markdown" for h in links(c.source)):
            parts = urlsplit(href)
            if parts.scheme:
                assert parts.scheme == "https", (name, href)
            elif parts.path.startswith("../"):
                html = site / edition / parts.path.removeprefix("../")
                assert f'id="{parts.fragment}"' in html.read_text(encoding="utf-8") or not (
                    parts.fragment
                ), (name, href)
            else:
                target = parts.path or name
                assert target in written, (name, href)
                assert not parts.fragment or parts.fragment in anchors[target], (name, href)


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
        ("[claims](behauptungen.md)", "[claims](../behauptungen.html)"),
        ("[here](https://a.org/b#c)", "[here](https://a.org/b#c)"),
        ('A\n\n<div data-widget="sphere"></div>\n\nB', "A\n\n\nB"),
        (
            "::::{dropdown} Hint\nSee {index}`A`.\n::::",
            "<details>\n<summary>Hint</summary>\n\nSee A.\n\n</details>\n",
        ),
        (
            ":::{figure} ../_static/a.svg\n:name: fig-a\n:alt: A.\n\nSo {index}`it` is.\n:::",
            "![A.](../_images/a.svg)\n\n*So it is.*\n",
        ),
        ("code `{cite}` and $a_{cite}$ stay", "code `{cite}` and $a_{cite}$ stay"),
    ],
)  # fmt: skip
def test_markup_becomes_prose(books, before, after):
    assert prose.plain(before, PAGE, books["en"]) == after


@pytest.mark.parametrize("unknown", [":::{table} a\n:::", "a {abbr}`b`"])
def test_markup_that_is_not_known_is_an_error(books, unknown):
    with pytest.raises(KeyError):
        prose.plain(unknown, PAGE, books["en"])
