"""The works cited: under the names that the pages call them by, with the places that cite them."""

import re
from collections import defaultdict

from bs4 import BeautifulSoup, Tag

from book.tools.crossref import title
from book.tools.languages import LANGUAGES
from book.tools.soup import first, value

PAGE = "literatur.html"
CITATION = ".bd-article .bibtex-citation[id]"
YEAR = re.compile(r"\d{4}")
KNOWN = {"https://arxiv.org/abs/": "arXiv:", "https://doi.org/": "doi:"}  # addresses by a number
URL = re.compile(r"\bURL: $")


def install(pages: dict[str, BeautifulSoup], language: str) -> None:
    """Name an edition's works as its pages do, and lead from each back to them.

    Args:
        pages: the pages, by file name.
        language: a key of `LANGUAGES`.
    """
    if not (listed := pages.get(PAGE)):
        return
    names: dict[str, str] = {}
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for name, page in pages.items():
        for citation in page.select(CITATION):
            for link in citation.select(f"a[href^='{PAGE}#']"):
                work = value(link, "href").partition("#")[2]
                names.setdefault(work, called(link, citation))
                places[work].setdefault(name, value(citation, "id"))
    for entry in listed.select(".citation"):
        work = value(entry, "id")
        first(entry, ".label").string = names[work]
        shorten(first(entry, "p"))
        cited = listed.new_tag("p", attrs={"class": "cited"})
        for number, (name, place) in enumerate(places[work].items()):
            link = listed.new_tag("a", href=f"{name}#{place}")
            link.string = title(pages[name])
            cited.extend([", " if number else f"{LANGUAGES[language]['cited']}: ", link])
        entry.append(cited)


def called(link: Tag, citation: Tag) -> str:
    """Return a work's authors and year, of which the link in running text has only the year."""
    text = link.get_text()
    if not YEAR.match(text):
        return text
    authors = citation.get_text().split(f"[{text}")[0].strip()
    return f"{authors}, {text}"


def shorten(entry: Tag) -> None:
    """Show a number that is known as such instead of the address made of it."""
    for link in entry.select("a.external"):
        for address, kind in KNOWN.items():
            if value(link, "href").startswith(address):
                link.string = kind + value(link, "href").removeprefix(address)
                if link.previous_sibling:
                    link.previous_sibling.replace_with(URL.sub("", str(link.previous_sibling)))
