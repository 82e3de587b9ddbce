"""The map of the book on its first page: a plan, then each page with its question.

Both show the paths that stop at a page.
"""

import copy
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from bs4 import BeautifulSoup, Tag
from bs4.element import PageElement

from book.tools import plan
from book.tools.languages import LANGUAGES
from book.tools.numbers import numbers
from book.tools.soup import first, value

INDEX = "index.html"
PLACE = "#book-map"
PATHS = ".first-view .sd-card-body"


def install(pages: dict[str, BeautifulSoup], order: Sequence[str], edition: str) -> None:
    """Draw the map where an edition's first page has a place for it.

    Args:
        pages: the pages, by file name.
        order: their file stems, in reading order.
        edition: the language.
    """
    index = pages[INDEX]
    if not (place := index.select_one(PLACE)):
        return
    words = LANGUAGES[edition]["map"]
    paths = [path(card) for card in index.select(PATHS)]
    numbered = numbers(order)
    shown = [stem for stem in order if stem[0].isdigit()]
    stations = [
        plan.Page(f"{stem}.html", numbered.get(stem, ""), name(pages[f"{stem}.html"], stem, words))
        for stem in shown
    ]
    drawn = BeautifulSoup(plan.draw(stations, paths, words), "html.parser")
    place.insert_before(*drawn.contents)
    place.name, place["class"] = "ol", "book-map"
    for stem in shown:
        place.append(row(pages[f"{stem}.html"], stem, numbered.get(stem, ""), paths))


def name(page: BeautifulSoup, stem: str, words: dict[str, Any]) -> str:
    """Return the name of a page on the plan: its title up to a colon, or a shorter one."""
    title = "".join(part.get_text() for part in content(first(page, "h1")))
    return str(words["names"].get(stem, title.partition(":")[0]))


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


def path(card: Tag) -> plan.Path:
    """Return a path: its card says its name first, and links to the pages at which it stops."""
    title = first(card, ".sd-card-title").get_text().partition(":")[0].strip()
    stops = dict.fromkeys(urlsplit(value(link, "href")).path for link in card.select("a"))
    return plan.Path(title, tuple(stops))


def row(page: BeautifulSoup, stem: str, number: str, paths: list[plan.Path]) -> Tag:
    """Return a page's line of the list."""
    file = f"{stem}.html"
    made = BeautifulSoup(
        f'<li><a href="{file}"></a><span class="question"></span></li>', "html.parser"
    )
    line = first(made, "li")
    line["class"] = "page" if "." in number else "chapter"
    first(line, "a").extend([f"{number} " if number else "", *content(first(page, "h1"))])
    first(line, ".question").extend(content(first(page, ".bd-article p")))
    for place, taken in reversed([*enumerate(paths)]):
        if file in taken.stops:
            stop = made.new_tag("abbr", attrs={"class": plan.LINES[place], "title": taken.name})
            stop.string = taken.name[0]
            first(line, "a").insert_after(" ", stop)
    return line
