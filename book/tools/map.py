"""The map of the book on its first page: each page with its question, and the paths that stop."""

import copy
from collections.abc import Iterable
from urllib.parse import urlsplit

from bs4 import BeautifulSoup, Tag
from bs4.element import PageElement

from book.tools.numbers import numbers
from book.tools.soup import first, value

INDEX = "index.html"
PLACE = "#book-map"
PATHS = ".first-view .sd-card-body"


def install(pages: dict[str, BeautifulSoup], order: Iterable[str]) -> None:
    """Draw the map where an edition's first page has a place for it.

    Args:
        pages: the pages, by file name.
        order: their file stems, in reading order.
    """
    index = pages[INDEX]
    if not (place := index.select_one(PLACE)):
        return
    paths = {name: stops for card in index.select(PATHS) for name, stops in [path(card)]}
    place.name, place["class"] = "ol", "book-map"
    for stem in (stem for stem in order if stem[0].isdigit()):
        place.append(row(pages[f"{stem}.html"], stem, numbers(order).get(stem, ""), paths))


def content(tag: Tag) -> list[PageElement]:
    """Return a copy of what a tag holds, plain but for symbols: no links, no emphasis, no ids."""
    copied = copy.copy(tag)
    for mark in copied.find_all(class_="headerlink"):
        mark.decompose()
    for part in copied.find_all(["a", "em", "strong"]):
        part.unwrap()
    for part in copied.find_all(id=True):
        del part["id"]
    return [*copied.contents]


def path(card: Tag) -> tuple[str, set[str]]:
    """Return the name of a path, which its card says first, and the pages at which it stops."""
    name = first(card, ".sd-card-title").get_text().partition(":")[0].strip()
    return name, {urlsplit(value(link, "href")).path for link in card.select("a")}


def row(page: BeautifulSoup, stem: str, number: str, paths: dict[str, set[str]]) -> Tag:
    """Return a page's line of the map."""
    file = f"{stem}.html"
    made = BeautifulSoup(
        f'<li><a href="{file}"></a><span class="question"></span></li>', "html.parser"
    )
    line = first(made, "li")
    line["class"] = "page" if "." in number else "chapter"
    first(line, "a").extend([f"{number} " if number else "", *content(first(page, "h1"))])
    first(line, ".question").extend(content(first(page, ".bd-article p")))
    for name in (name for name, stops in reversed(paths.items()) if file in stops):
        stop = made.new_tag("abbr", attrs={"title": name})
        stop.string = name[0]
        first(line, "a").insert_after(" ", stop)
    return line
