"""Links from the code and the text of the pages to what documents the names in them.

Names of lnlib lead to the book's reference, and that back to the pages; names of other libraries
lead to the documentation that their inventories list.
"""

from collections import defaultdict
from collections.abc import Iterator
from urllib.parse import urlsplit

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString

from book.tools import inventories
from book.tools.languages import LANGUAGES
from book.tools.names import REFERENCE, WRITTEN, Names, Use
from book.tools.reading import one_line
from book.tools.search.units import HEADINGS
from book.tools.soup import first, value

SPOKEN = "en"  # of the docstrings
CELLS = ["highlight-ipython3", "highlight-python"]
LINKED = ["a", *HEADINGS]  # or no place for a link
Pages = dict[str, BeautifulSoup]  # by file name


def install(pages: Pages, language: str) -> None:
    """Link an edition's pages and its reference, both ways, and all with other libraries.

    Args:
        pages: the pages.
        language: a key of `LANGUAGES`.
    """
    reference = {name: page for name, page in pages.items() if name.startswith(REFERENCE)}
    rooms = {title(page): name for name, page in reference.items()}
    entries = [(n, e) for n, page in reference.items() for e in page.find_all(class_="entry")]
    targets = {anchor: f"{name}#{anchor}" for name, entry in entries for anchor in anchors(entry)}
    uses: dict[str, dict[str, str]] = defaultdict(dict)  # of each anchor: pages, place on them
    others, modules = inventories.targets(inventories.stored())
    for name in sorted(pages.keys() - reference.keys()):
        for anchor, place in link(pages[name], targets | others, rooms | modules).items():
            uses[anchor].setdefault(name, place)
    for _, entry in entries:
        places = {k: v for anchor in anchors(entry) for k, v in uses[anchor].items()}
        tell(entry, pages, places, LANGUAGES[language]["reference"]["uses"])
    for page in reference.values():
        link(page, others, modules)
        for tag in page.find_all(class_=["docstring", "overview"]):
            tag["lang"] = SPOKEN


def title(page: BeautifulSoup) -> str:
    """Return the title of a page."""
    return one_line("".join(t for t in first(page, "h1").strings if t != "#"))


def anchors(entry: Tag) -> list[str]:
    """Return all names of an entry of the reference."""
    others = entry.find_all("span", id=True, recursive=False)
    return [value(tag, "id") for tag in (entry, *others)]


def link(page: BeautifulSoup, targets: dict[str, str], rooms: dict[str, str]) -> dict[str, str]:
    """Link the names on a page; return where each of lnlib is used, rather than imported, first.

    In a cell the first use of each is linked; of the rooms and modules, that which imports them.
    """
    names = Names()
    everything = targets | rooms
    links: dict[str, list[tuple[bool, Tag]]] = defaultdict(list)
    for cell in (first(box, "pre") for box in page.find_all(class_=CELLS)):
        found: dict[str, tuple[Use, str]] = {}
        for use in sorted(names.uses(cell.get_text()), key=lambda use: (use.line, use.column)):
            if target := targets.get(use.name) or (use.imported and rooms.get(use.name)):
                found.setdefault(use.name, (use, target))
        leaves = [*tokens(cell)]
        for name, (use, target) in found.items():
            tag = link_to(page, target)
            at(leaves, use).wrap(tag)
            links[name].append((use.imported, tag))
    for tag in page.find_all("code", class_="literal"):
        if (
            (match := WRITTEN.fullmatch(tag.get_text()))
            and (target := target_of(match[1], names, everything))
            and not tag.find_parent(LINKED)
        ):
            tag.wrap(link_to(page, target))
    places = {}
    for name in (n for n in links.keys() & targets.keys() if not leaves_book(targets[n])):
        _, tag = min(links[name], key=lambda found: found[0])
        tag["id"] = places[name] = f"use-{name}"
    return places


def link_to(page: BeautifulSoup, target: str) -> Tag:
    """Return a new link, marked if it leaves the book."""
    marks = {"class": "external"} if leaves_book(target) else {}
    return page.new_tag("a", href=target, attrs=marks)


def leaves_book(target: str) -> bool:
    """Say whether a link leads to another site."""
    return bool(urlsplit(target).netloc)


def tokens(cell: Tag) -> Iterator[tuple[int, int, NavigableString]]:
    """Yield the texts of which a cell consists, with the line and column where each begins."""
    line = column = 0
    for text in cell.find_all(string=True):
        yield line, column, text
        line += text.count("\n")
        column = len(text) - text.rfind("\n") - 1 if "\n" in text else column + len(text)


def at(leaves: list[tuple[int, int, NavigableString]], use: Use) -> NavigableString:
    """Return the text of a cell in which the last part of a name stands."""
    *_, (_, _, text) = (leaf for leaf in leaves if leaf[:2] <= (use.line, use.column))
    return text


def target_of(text: str, names: Names, targets: dict[str, str]) -> str | None:
    """Return where a name leads that a text writes, whole or as the page's code has it."""
    root, *rest = text.split(".")
    whole = ".".join([names.meaning.get(root, root), *rest])
    return targets.get(whole)


def tell(entry: Tag, pages: Pages, places: dict[str, str], words: str) -> None:
    """Say in an entry on which pages its name is used."""
    (box,) = entry.find_all(class_="uses", recursive=False)
    if not places:
        box.decompose()
    for number, (name, place) in enumerate(places.items()):
        box.name = "p"
        tag = pages[name].new_tag("a", href=f"{name}#{place}")
        tag.string = title(pages[name])
        box.extend([", " if number else f"{words}: ", tag])
