"""What the links to works, terms of the glossary and claims lead to, for cards beside them."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from bs4 import BeautifulSoup, Tag

from book.tools.crossref import title
from book.tools.scripts import digest, loading
from book.tools.soup import classes, first, value

TARGETS = ".citation[id], .glossary > dt[id], .ledger > .claim[id]"
FURNITURE = ".headerlink, .cited"
MARK = "carded"  # a link that has a card


def install(folder: Path, pages: dict[str, BeautifulSoup]) -> None:
    """Write an edition's cards as one script, which a page loads with the first card it shows.

    Args:
        folder: the edition's folder.
        pages: its pages, by file name.
    """
    cards = {k: html for name, page in pages.items() for k, html in cards_of(name, page)}
    text = f"window.bookCards={json.dumps(cards, ensure_ascii=False, separators=(',', ':'))}"
    file = f"_static/book-cards-{digest(text.encode())}.js"
    (folder / file).write_text(text, encoding="utf-8")
    attributes = loading(folder, "cards.js", cards=file)
    for name, page in pages.items():
        if mark(name, page, cards):
            first(page, "body").append(page.new_tag("script", attrs=attributes))


def cards_of(name: str, page: BeautifulSoup) -> Iterator[tuple[str, str]]:
    """Yield the cards for what stands on a page, each with the address it stands for."""
    terms: list[Tag] = []
    for tag in page.select(TARGETS):
        if tag.name != "dt":
            yield f"{name}#{tag['id']}", written(name, page, [tag])
            continue
        terms.append(tag)
        definition = tag.find_next_sibling()
        if definition and definition.name == "dd":
            yield f"{name}#{terms[0]['id']}", written(name, page, [*terms, definition])
            terms = []


def written(name: str, page: BeautifulSoup, parts: list[Tag]) -> str:
    """Return the HTML of a card: some parts of a page, then the page itself as a link."""
    card = BeautifulSoup("", "html.parser")
    for part in map(copy.copy, parts):
        for tag in part.select(FURNITURE):
            tag.decompose()
        for tag in (part, *part.find_all(True)):
            for attribute in ("id", "role", "style", "title"):
                del tag[attribute]
            if tag.has_attr("href"):
                tag["href"] = urljoin(name, value(tag, "href"))
        if part.name == "dt":
            part.name, part["class"] = "strong", "name"
        else:
            part.name = "div"
        card.append(part)
    onward = page.new_tag("a", href=f"{name}#{parts[0]['id']}")
    onward.string = title(page)
    card.append(page.new_tag("p", attrs={"class": "onward"}))
    first(card, ".onward").append(onward)
    return str(card)


def mark(name: str, page: BeautifulSoup, cards: dict[str, str]) -> bool:
    """Mark a page's links that have a card; say whether there are any."""
    links = [a for a in page.select("article a[href*='#']") if target(name, a) in cards]
    for link in links:
        link["class"] = " ".join([*classes(link), MARK])
        del link["title"]  # by sphinxcontrib-bibtex 2.7.0: the work, which the card shows
    return bool(links)


def target(name: str, link: Tag) -> str:
    """Return where a link of a page leads, as the cards are filed."""
    place = urlsplit(urljoin(name, value(link, "href")))
    return f"{place.path}#{unquote(place.fragment)}"
