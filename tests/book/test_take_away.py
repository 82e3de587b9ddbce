"""What a reader takes along: citation, plain Markdown, slides, plans for teaching."""

import re
from urllib.parse import urlsplit

import pytest
from nbformat.v4 import new_output
from pybtex.database import parse_string

from book import BOOK, ROOT
from book.tools import notebooks, slides, text
from book.tools.citation import CITATION, bibtex
from book.tools.configuration import contents
from book.tools.languages import LANGUAGES
from book.tools.names import REFERENCE
from book.tools.prose import has_text
from book.tools.reading import one_line

EDITIONS = tuple(LANGUAGES)
URL = "https://example.org/de/1b_numerik.html"
READ = re.compile(r"\]\((\w+)\.ipynb\) \((\d+) min\)")
SAID = re.compile(r"\*(?:Lesezeit|Reading time):\* (\d+)\s(?:Minuten|minutes)")
ROW = re.compile(r"^\| (\d+) \|", re.MULTILINE)
MARKUP = re.compile(r"\{[\w:-]+\}`|^:::|^\([\w-]+\)=$|^:[\w-]+:|<div|^```\{", re.MULTILINE)


@pytest.fixture(scope="module", params=EDITIONS)
def edition(request):
    return request.param


@pytest.fixture(scope="module")
def page(site, html):
    return lambda edition, stem: html[site / edition / f"{stem}.html"]


def test_a_citation_is_bibtex_with_what_the_book_says_of_itself():
    database = parse_string(bibtex("de", "1b_numerik", "BN & LN: 100 %", URL), "bibtex")
    ((key, entry),) = database.entries.items()
    assert (key, entry.type) == ("lnlib:1b_numerik:de", "incollection")
    assert [str(person) for person in entry.persons["author"]] == [
        f"{{{author['name']}}}" for author in CITATION["authors"]
    ]
    fields = dict(entry.fields)
    assert fields.pop("year") == CITATION["date-released"][:4]
    assert fields == {
        "title": r"{BN \& LN: 100 \%}",
        "booktitle": CITATION["title"],
        "version": CITATION["version"],
        "langid": "ngerman",
        "url": URL,
    }


def test_the_first_page_stands_for_the_book():
    database = parse_string(bibtex("en", "index", "A page", ""), "bibtex")
    entry = database.entries["lnlib:en"]
    assert (entry.type, entry.fields["title"]) == ("book", f"{{{CITATION['title']}}}")
    assert "url" not in entry.fields


def test_every_page_says_how_to_cite_it(page, edition):
    for stem in (s for s in contents() if s != "genindex"):
        html = page(edition, stem)
        (said,) = html.select("#citation pre")
        (entry,) = parse_string(said.get_text(), "bibtex").entries.values()
        title = re.sub(r"^[\d.]+ |#$", "", html.select_one("h1").get_text())
        if stem != "index":
            assert entry.fields["title"].strip("{}").replace("\\", "") == title
        (button,) = html.select(".btn-cite-button")
        assert button["href"] == "#citation"
        assert "target" not in button.attrs


def test_every_page_but_the_index_is_offered_as_markdown(site, page, edition):
    offered = {s: page(edition, s).select(".btn-text-button") for s in contents()}
    assert [s for s, found in offered.items() if not found] == ["genindex"]
    anchors = {}
    for stem, (button,) in ((s, found) for s, found in offered.items() if found):
        assert button["href"] == f"{stem}.md"
        said = (site / edition / f"{stem}.md").read_text(encoding="utf-8")
        prose = re.sub(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$", "", said, flags=re.DOTALL)
        assert MARKUP.findall(prose) == [], stem
        anchors[stem] = set(re.findall(r'<a id="([^"]+)">', said))
    for stem in anchors:
        said = (site / edition / f"{stem}.md").read_text(encoding="utf-8")
        for href in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", said, flags=re.DOTALL)):
            url = urlsplit(href)
            if not url.scheme and url.path.endswith((".md", ".html")):
                assert (site / edition / url.path).is_file(), (stem, href)
                if url.fragment and url.path.endswith(".md"):
                    assert url.fragment in anchors[url.path.removesuffix(".md")], (stem, href)


def test_the_reference_says_the_same_in_markdown(site, page, edition):
    for stem in (s for s in contents() if s.startswith(f"{REFERENCE}_")):
        said = (site / edition / f"{stem}.md").read_text(encoding="utf-8")
        entries = page(edition, stem).select("section.entry")
        assert re.findall(r"^## `(.+)`$", said, re.MULTILINE) == [e["id"] for e in entries]
        for code in page(edition, stem).select(".signature pre, .example pre"):
            assert f"\n{code.get_text().strip()}\n```" in said, stem
    norm = (site / edition / f"{REFERENCE}_functional.md").read_text(encoding="utf-8")
    assert (
        "[`lnlib.reference.layer_norm`](referenz_reference.md#lnlib.reference.layer_norm)" in norm
    )
    assert r"$$y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}\odot\gamma + \beta$$" in norm
    reference = (site / edition / f"{REFERENCE}_reference.md").read_text(encoding="utf-8")
    assert f"**{LANGUAGES[edition]['reference']['parameters']}**\n\n- `input`: " in reference


def test_every_work_is_listed_in_markdown(site, page, edition):
    said = (site / edition / "literatur.md").read_text(encoding="utf-8").splitlines()
    works = [line.removeprefix("- ") for line in said if line.startswith("- ")]
    shown = page(edition, "literatur").select(".citation")
    assert len(works) == len(shown) > 150
    for work, entry in zip(works, shown, strict=True):
        title = one_line(entry.select_one("p").get_text()).split(". ")[0]
        assert work.startswith(title), work
    assert any(work.endswith("URL: https://arxiv.org/abs/1607.06450.") for work in works)


def test_outputs_stand_in_the_text():
    table = {"text/markdown": "| a |\n|---|", "text/plain": "a"}
    image = {"image/svg+xml": "<svg/>", "text/plain": "<Figure>"}
    outputs = [
        new_output("stream", text="one\n"),
        new_output("display_data", table),
        new_output("display_data", image),
    ]
    assert [text.shown(output, "A curve.") for output in outputs] == [
        "```\none\n```",
        "| a |\n|---|",
        "*A curve.*",
    ]


def test_the_list_of_pages_names_each_with_its_question(site):
    listed = (site / text.LIST).read_text(encoding="utf-8")
    for edition in EDITIONS:
        found = re.findall(rf"^- \[.+\]\({edition}/(\w+)\.md\)", listed, re.MULTILINE)
        assert found == [stem for stem in contents() if has_text(stem)]
    assert (
        "[The backward pass](en/1a_rueckwaertspass.md): Why can’t we hold μ and σ fixed" in listed
    )
    asked = "# A\n\n**Is [LN](x.md#term-ln) one?**"
    published = text.listing("B", {"de": {"index": asked}}, "https://a.org/")
    assert "- [A](https://a.org/de/index.md): Is LN one?\n" in published
    assert "(en/referenz_layout.md): Which axes share a mean and a variance, for all five" in listed


def test_every_figure_is_a_slide(site, page, edition):
    deck = slides.deck(site / edition, edition)
    figures = [len(page(edition, stem).select(slides.FIGURES)) for stem in contents()]
    assert len(deck.select("article:not(.page) > img")) == sum(figures) > 60
    for slide in deck.select("article:not(.page)"):
        assert slide.select_one("h2").get_text(strip=True)
        assert len(slide.select_one("p").get_text()) > 30
    seen = next(s for s in deck.select("article") if "plane_and_circle" in str(s.img))
    assert "Three entries" in seen.p.get_text() or "Drei Einträge" in seen.p.get_text()


def test_plans_for_teaching_name_the_reading_times_of_the_pages(edition):
    plan = (BOOK / edition / "lehre.md").read_text(encoding="utf-8")
    read = READ.findall(plan)
    assert len(read) > 20
    for stem, minutes in read:
        first = notebooks.read(BOOK / edition / f"{stem}.ipynb").cells[0].source
        assert SAID.search(first)[1] == minutes, stem


def test_a_session_lasts_ninety_minutes(edition):
    plan = (BOOK / edition / "lehre.md").read_text(encoding="utf-8")
    tables = re.findall(r"(?:^\|.*\n)+", plan, re.MULTILINE)
    *sessions, course = tables
    assert [sum(map(int, ROW.findall(table))) for table in sessions] == [90, 90, 90]
    assert ROW.findall(course) == [str(n + 1) for n in range(10)]


def test_deployment_publishes_what_pages_offer():
    workflow = (ROOT / ".github/workflows/deploy.yml").read_text(encoding="utf-8")
    assert "make slides site.zip" in workflow
    assert "cp _build/pdf/*.pdf _build/slides/*.pdf _build/*.zip _build/site/" in workflow
