"""The numbers of the chapters and their pages: in the list beside the text and above it."""

import re
from collections import Counter
from collections.abc import Iterable
from urllib.parse import urlsplit

from bs4 import BeautifulSoup, Tag

from book.tools.soup import classes, first, value

CHAPTER = re.compile(r"([1-9]\d*)([a-z]?)_")
LISTED = ".bd-docs-nav li > a"
TITLE = ".bd-article h1"


def numbers(order: Iterable[str]) -> dict[str, str]:
    """Return the numbers of pages by file stem.

    >>> numbers(["index", "1_first", "1b_one", "1a_two", "2_second", "claims"])
    {'1_first': '1', '1b_one': '1.1', '1a_two': '1.2', '2_second': '2'}
    """
    found, pages = {}, Counter[str]()
    for stem in order:
        if match := CHAPTER.match(stem):
            chapter, page = match.groups()
            pages[chapter] += bool(page)
            found[stem] = f"{chapter}.{pages[chapter]}" if page else chapter
    return found


def install(pages: dict[str, BeautifulSoup], order: list[str]) -> None:
    """Number an edition's pages, and set apart in the list of pages what follows the chapters.

    Args:
        pages: the pages, by file name.
        order: their file stems, in reading order.
    """
    numbered = {f"{stem}.html": number for stem, number in numbers(order).items()}
    last = max(numbered, key=lambda name: order.index(name.removesuffix(".html")), default="")
    appendix = {f"{stem}.html" for stem in order[order.index(last[:-5]) + 1 :]} if last else set()
    for name, page in pages.items():
        if name in numbered:
            write(first(page, TITLE), numbered[name], page)
        for link in page.select(f"{LISTED}, .prev-next-area a"):
            target = urlsplit(value(link, "href")).path or name
            if target in numbered:
                write(link.select_one(".prev-next-title") or link, numbered[target], page)
        for item in page.select(".bd-docs-nav .toctree-l1:has(> a)"):
            if (urlsplit(value(first(item, "a"), "href")).path or name) in appendix:
                item["class"] = " ".join([*classes(item), "appendix"])
                break


def write(tag: Tag, number: str, page: BeautifulSoup) -> None:
    """Write a number before a title."""
    mark = page.new_tag("span", attrs={"class": "number"})
    mark.string = number
    tag.insert(0, mark, " ")
