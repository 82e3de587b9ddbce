"""What there is to find on a page, in units.

A unit is what a result leads to: a section, an exercise, a term of the glossary, a claim, a work
cited, a name of lnlib. Code that a page folds away, imports and outputs are left out, and of the
reference all but the beginning of each entry.
"""

import builtins
import keyword
import re
from dataclasses import dataclass, field
from typing import Any

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString

from book.tools.names import REFERENCE, variables
from book.tools.reading import one_line
from book.tools.search.formulas import plain
from book.tools.soup import classes, value

KINDS = {  # of units that are no section, by their class
    "exercise": "exercise",
    "solution": "solution",
    "claim": "claim",
    "citation": "work",
}
APPENDIX = {
    "loesungen.html": "solution", "behauptungen.html": "claim", "literatur.html": "work",
    "formeln.html": "sheet", "lehre.html": "sheet",
}  # fmt: skip
HEADINGS = ["h1", "h2", "h3", "h4"]
TITLES = {*HEADINGS, "strong", "admonition-title", "label"}  # the first of them in a unit
LEFT_OUT = {
    "annotation", "cited", "fieldset", "headerlink", "level", "none", "script", "solved", "summary",
    "svg", "effects", "overview", "rooms", "source",  # what a page says twice, and code
}  # fmt: skip
BRIEF = 1  # block of an entry of the reference
BLOCKS = {"dd", "li", "p", "tr"}
CELLS = {"td", "th"}
END = "\0"  # of a block
IMPORT = re.compile(r"^\s*(?:from \S+ )?import .*$", re.MULTILINE)
WORDS = {*keyword.kwlist, *dir(builtins)}
NAME = re.compile(r"[A-Za-z_]\w{2,}")


def entries(index: BeautifulSoup) -> dict[str, str]:
    """Return what the book's index says of each place it names."""
    links = index.select(".bd-article li a[href*='#index-']")
    levels = {
        value(link, "href"): [next(li.stripped_strings) for li in link.find_parents("li")]
        for link in links
    }
    return {href: one_line(" ".join(words)) for href, words in levels.items()}


def code_names(code: str) -> set[str]:
    r"""Return the names in code that one may look for: not those of its variables.

    >>> sorted(code_names("import numpy\nrows = numpy.arange(12)\nprint(rows.mean())"))
    ['arange', 'mean', 'numpy']
    """
    return set(NAME.findall(IMPORT.sub("", code))) - variables(code) - WORDS


@dataclass
class Unit:
    """What a result leads to."""

    kind: str
    page: str
    place: str = ""  # the id where it begins; none at the top of the page
    titles: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)  # all ids in it
    text: str = ""
    captions: list[str] = field(default_factory=list)
    code: str = ""

    def blocks(self) -> list[str]:
        """Return the paragraphs and their like, each on one line."""
        return [line for block in self.text.split(END) if (line := one_line(block))]

    def entry(self, index: dict[str, str]) -> list[Any]:
        """Return what `bundle.mjs` reads."""
        reference = self.page.startswith(REFERENCE)
        return [
            APPENDIX.get(self.page, self.kind),
            self.page,
            self.place,
            ", ".join(self.titles),
            [index[at] for place in self.places if (at := f"{self.page}#{place}") in index]
            if self.kind != "name"
            else self.places[1:],  # its other names
            self.blocks()[: BRIEF if reference else None],
            self.captions,
            " ".join(sorted(code_names(self.code) if not reference else ())),
        ]


class Reader:
    """Takes the units of a page, in their order."""

    def __init__(self, page: str, article: Tag) -> None:
        self.units: list[Unit] = []
        self._page = page
        self._terms: list[Tag] = []  # that the next definition explains
        self._read(article, Unit("", page))

    def _read(self, tag: Tag, unit: Unit) -> None:
        for child in tag.children:
            if isinstance(child, Tag):
                self._read_tag(child, unit)
            elif type(child) is NavigableString:  # no comment
                unit.text += child

    def _read_tag(self, tag: Tag, unit: Unit) -> None:
        marks = {tag.name, *classes(tag)}
        around = set(classes(tag.parent)) if tag.parent else set()
        if marks & LEFT_OUT or is_folded(tag, marks) or ("claim" in around and leads_away(tag)):
            return
        if "math" in marks:
            unit.text += plain(tag) if tag.name == "span" else ""
        elif tag.name == "pre":
            unit.code += "" if tag.find_parent(class_="cell_output") else tag.get_text()
        elif tag.name == "img":
            unit.captions.append(value(tag, "alt"))
        elif tag.name == "figcaption":
            unit.captions += self._part(tag, unit).blocks()
        elif marks & TITLES and not unit.titles:
            unit.titles.append(one_line(self._part(tag, unit).text))
        elif tag.name == "dt" and "glossary" in around:
            self._terms.append(tag)
        else:
            self._read_on(tag, self._unit(tag, marks, around) or unit)

    def _read_on(self, tag: Tag, unit: Unit) -> None:
        unit.places += [value(tag, "id")] if tag.get("id") else []
        self._read(tag, unit)
        if tag.name in BLOCKS and not (tag.parent and tag.parent.name in CELLS):
            unit.text += END
        elif tag.name in CELLS and tag.find_next_sibling():
            unit.text += " · "

    def _part(self, tag: Tag, unit: Unit) -> Unit:
        """Read a tag apart from the text around it."""
        part = Unit("", self._page, titles=[""], places=unit.places)
        self._read(tag, part)
        return part

    def _unit(self, tag: Tag, marks: set[str], around: set[str]) -> Unit | None:
        """Begin a unit if a tag does."""
        unit = None
        if tag.name == "section" and (heading := tag.find(HEADINGS, recursive=False)):
            kind = "name" if "entry" in marks else "section"
            unit = Unit(kind, self._page, place="" if heading.name == "h1" else value(tag, "id"))
        elif tag.name == "dd" and "glossary" in around:
            unit = Unit("term", self._page, place=value(self._terms[0], "id"))
            unit.titles = [one_line(self._part(term, unit).text) for term in self._terms]
            unit.places = [value(term, "id") for term in self._terms]
            self._terms = []
        elif kinds := marks & KINDS.keys():
            unit = Unit(KINDS[kinds.pop()], self._page, place=value(tag, "id"))
        self.units += [unit] if unit else []
        return unit


def is_folded(tag: Tag, marks: set[str]) -> bool:
    """Tell whether a tag is code that its page hides."""
    return "cell_input" in marks and tag.find_parent(class_="tag_hide-input") is not None


def leads_away(tag: Tag) -> bool:
    """Tell whether a tag is the last line of a claim: its page and its cell."""
    return tag.name == "p" and tag.find_next_sibling() is None
