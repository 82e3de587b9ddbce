"""The search of the site: what there is to find in an edition, bundled with what finds it."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bs4 import BeautifulSoup

from book.tools.languages import LANGUAGES
from book.tools.scripts import loading, run
from book.tools.search.units import Reader, entries
from book.tools.soup import classes, first, value

HERE = Path(__file__).resolve().parent
REPLACED = (  # what Sphinx searches with
    "searchtools.js",
    "language_data.js",
    "searchindex.js",
    "sphinx_highlight.js",
    "doctools.js",
    "translations.js",
)
PAGE, INDEX = "search.html", "genindex.html"


def bundle(folder: Path, content: dict[str, Any]) -> str:
    """Write an edition's search as one script, and return its name."""
    return run(HERE / "bundle.mjs", str(folder / "_static"), text=json.dumps(content))


def install(folder: Path, pages: dict[str, BeautifulSoup], language: str) -> None:
    """Replace Sphinx's search in the pages of an edition.

    Args:
        folder: the edition's folder.
        pages: its pages, by file name.
        language: a key of `LANGUAGES`.
    """
    words = LANGUAGES[language]
    index = entries(pages[INDEX])
    searched = {name: page for name, page in pages.items() if name not in (PAGE, INDEX)}
    readers = [Reader(name, first(page, ".bd-article")) for name, page in searched.items()]
    content = {
        "language": language,
        "stemmer": words["stemmer"],
        "digraphs": words["digraphs"],
        "text": words["search"],
        "units": [unit.entry(index) for reader in readers for unit in reader.units],
    }
    attributes = loading(folder, "search.js", engine=f"_static/{bundle(folder, content)}")
    for page in pages.values():
        for tag in page.select("script[src]"):
            if urlsplit(value(tag, "src")).path.endswith(REPLACED):
                tag.decompose()
        first(page, "body").append(page.new_tag("script", attrs=attributes))
    write_page(pages[PAGE], words["search"])


def write_page(page: BeautifulSoup, words: dict[str, str]) -> None:
    """Make the theme's search page (search.html of pydata-sphinx-theme 0.17.1) ours."""
    container = first(page, ".bd-search-container")
    container["class"] = " ".join([*classes(container), "bd-article"])
    first(container, "input")["autofocus"] = ""
    first(container, "#search-results").decompose()
    first(page, ".bd-search-container ~ script").decompose()  # it sets the focus
    text = f"<noscript><p>{words['script']} {words['help']}</p></noscript>"
    first(container, "noscript").replace_with(BeautifulSoup(text, "html.parser"))
