"""Make a page that Sphinx wrote fast, private and accessible, a step at a time.

Each step says what it mends: in sphinx-book-theme 1.3.0 ("the book theme"), in pydata-sphinx-theme
0.17.1 ("the theme") below it, in Sphinx 7.4.7, or in an extension. Later versions may not need it.
"""

import base64
import copy
import gettext
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from bs4 import BeautifulSoup

from book import BOOK
from book.tools.reading import one_line
from book.tools.soup import first, value

LARGER = 1.2  # is a figure than it was drawn: its letters are like those of the text


@dataclass(frozen=True)
class Place:
    """Where a page stands.

    Args:
        title: the book's name.
        folder: the edition's folder.
        others: the same page in the other languages, by code.
    """

    title: str
    folder: Path
    others: dict[str, BeautifulSoup]


def lighten(page: BeautifulSoup) -> None:
    """Take away half of a page's elements: repetitions and marks that one does not see."""
    for tag in page.find_all(id="jb-print-docs-body"):  # the book theme's layout.html, for paper
        tag.decompose()
    for code in page.find_all(class_="highlight"):
        for tag in code.find_all(class_=["n", "p", "w"]):  # Pygments; they look like what is around
            tag.unwrap()


def name_parts(page: BeautifulSoup, place: Place) -> None:
    """Correct the names and roles under which a screen reader announces parts of a page."""
    for tag in page.select("summary[aria-label], .search-button-field"):
        del tag["aria-label"]  # of myst-nb 1.4.0 and the theme; it hides the text that is there
    for tag in page.select("nav li > a + details > summary"):  # the theme's toctree.py
        (item,) = tag.find_parents("li", limit=1)
        tag["aria-label"] = first(item, "a").get_text()
    for tag in page.select(".bd-sidebar-primary"):  # the theme's layout.html: a div
        tag.attrs |= {"role": "complementary", "aria-label": place.title}
    for tag in page.select(".dropdown-menu a[href^='#']"):  # the book theme's open another window
        del tag["target"]
    for tag in page.select(".citation-list > .citation"):  # in Sphinx's role="list"
        tag["role"] = "listitem"
    for tag in page.select("th"):  # of docutils and pandas; the corner of a table heads nothing
        if not tag.get_text(strip=True):
            tag.name = "td"
    for tag in page.select(".cell_output:has(img), div.math"):  # too wide, they scroll in a box
        tag["tabindex"] = "0"
    for tag in page.select(":is(.exercise, .solution) > .admonition-title"):  # sphinx-exercise
        tag.attrs |= {"role": "heading", "aria-level": str(len(tag.find_parents("section")) + 1)}


def translate_parts(page: BeautifulSoup, place: Place) -> None:
    """Say in the page's language what the book theme's components name in English only."""
    languages = [place.folder.name]
    words = gettext.translation("sphinx", BOOK / "locale", languages, fallback=True)
    for tag in page.select(".sidebar-toggle[title]"):
        tag["title"] = words.gettext(value(tag, "title"))
    for tag in page.select(".bd-docs-nav"):
        tag["aria-label"] = words.gettext(value(tag, "aria-label"))


def skip_to_editions(page: BeautifulSoup, place: Place) -> None:
    """Let the stops of the keyboard after the theme's first be the page in other languages."""
    for switch in page.select("a.language-switch"):
        link = copy.copy(switch)
        del link["class"]
        names = {"aria-label": value(link, "title"), "lang": value(link, "lang")}
        landmark = page.new_tag("nav", attrs=names)
        landmark.append(link)
        first(page, ".skip-link").append(landmark)


def name_downloads(page: BeautifulSoup, place: Place) -> None:
    """Let the name of a downloaded notebook say its language; in all editions it is the same."""
    for tag in page.select(".btn-download-source-button"):
        path = Path(value(tag, "href"))
        tag["download"] = f"{path.stem}-{place.folder.name}{path.suffix}"


def size_images(page: BeautifulSoup, place: Place) -> None:
    """Give the figures of myst-nb a size, so that the text does not jump, and load them late."""
    for tag in page.select(".bd-article img"):
        svg = ElementTree.parse(place.folder / unquote(value(tag, "src"))).getroot()
        for side in ("width", "height"):
            large = LARGER if tag.find_parent(class_="cell_output") else 1
            tag[side] = str(round(large * pixels(svg.attrib[side])))
    for tag in page.select(".cell_output img"):
        tag["loading"] = "lazy"


def pixels(length: str) -> int:
    """Return an SVG length, in points or pixels, in pixels.

    >>> pixels("72pt"), pixels("96")
    (96, 96)
    """
    return round(float(length.removesuffix("pt")) * (4 / 3 if length.endswith("pt") else 1))


def describe(page: BeautifulSoup, place: Place) -> None:
    """Describe a page to search engines by its first paragraph.

    sphinxext-opengraph (0.13.0) could, but it writes formulas as TeX and runs into the second.
    """
    if paragraph := page.select_one(".bd-article p"):
        text = one_line(paragraph.get_text())
        meta = page.new_tag("meta", attrs={"name": "description", "content": text})
        first(page, "head").append(meta)


def defer_scripts(page: BeautifulSoup, place: Place) -> None:
    """Let the scripts of Sphinx and the theme, which stand in the head, wait for the text."""
    for tag in page.select("script[src]"):
        path = urlsplit(value(tag, "src")).path
        if path.endswith("documentation_options.js"):  # a later script of the page adds to it
            del tag["src"]
            tag.string = (place.folder / path).read_text(encoding="utf-8")
        else:
            tag["defer"] = ""


def link_sections(page: BeautifulSoup, place: Place) -> None:
    """Note at each section the id of the same section in the other languages."""
    sections = page.select(".bd-article section[id]")
    for language, other in place.others.items():
        for section, twin in zip(sections, other.select(".bd-article section[id]"), strict=True):
            section[f"data-{language}"] = value(twin, "id")


PAGE_STEPS = (
    name_parts,
    translate_parts,
    skip_to_editions,
    name_downloads,
    size_images,
    describe,
    defer_scripts,
    link_sections,
)


def restrict(page: BeautifulSoup) -> None:
    """Set a content security policy: this site and what this page holds, nothing else."""
    scripts = [str(tag.string) for tag in page.select("script:not([src])")]
    styles = [str(tag.string) for tag in page.select("style")]
    for tag in page.select("*"):
        scripts += [value(tag, key) for key in tag.attrs if key.startswith("on")]
        styles += [value(tag, "style")] if tag.has_attr("style") else []
    policy = [
        "default-src 'self'",
        f"script-src 'self' 'unsafe-hashes' {hashes(scripts)}",
        f"style-src 'self' 'unsafe-hashes' {hashes(styles)}",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    ]
    name = "Content-Security-Policy"
    tag = page.new_tag("meta", attrs={"http-equiv": name, "content": "; ".join(policy)})
    first(page, "meta[charset]").insert_after(tag)


def hashes(texts: Iterable[str]) -> str:
    """Return the hashes by which a policy names what stands in the page itself."""
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(sorted({f"'sha256-{base64.b64encode(d).decode()}'" for d in digests}))
