"""What of lnlib is public, read from its source without importing it.

Public is what a room of the library offers, in its `__all__` or else as its own functions and
classes without an underscore; and of the other modules within a room, what a page of the book uses.
Each has one entry in the reference, under its shortest name.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import griffe

from book import BOOK, ROOT
from book.tools.languages import FIRST
from book.tools.names import REFERENCE, Names

ENTRY = (griffe.Kind.FUNCTION, griffe.Kind.CLASS)
FURNITURE = "lnlib.pages"  # of the book, no part of the library
OPEN = ("lnlib.reference.variants",)  # modules within a room that offer all they have


@dataclass(frozen=True)
class Entry:
    """A public function or class.

    Args:
        name: the shortest under which it is public.
        others: its other public names.
        room: the module whose page holds the entry.
        item: what its source says.
    """

    name: str
    others: tuple[str, ...]
    room: str
    item: griffe.Function | griffe.Class


def page_of(room: str) -> str:
    """Return the file stem of the page on a room.

    >>> page_of("lnlib.functional"), page_of("lnlib")
    ('referenz_functional', 'referenz_lnlib')
    """
    return f"{REFERENCE}_{room.removeprefix('lnlib.')}"


@cache
def library() -> griffe.Module:
    """Return lnlib as its source has it."""
    options = griffe.GoogleOptions(returns_multiple_items=False, returns_named_value=False)
    loaded = griffe.load(
        "lnlib", search_paths=[ROOT], docstring_parser="google", docstring_options=options
    )
    assert isinstance(loaded, griffe.Module)
    return loaded


def sources() -> list[Path]:
    """Return the files that the reference is made from."""
    return [*sorted((ROOT / "lnlib").rglob("*.py")), *sorted((BOOK / FIRST).glob("*.ipynb"))]


def rooms() -> list[griffe.Module]:
    """Return the library and its rooms, in the order of the library's docstring."""
    found = [m for m in library().members.values() if isinstance(m, griffe.Module)]
    public = [m for m in found if m.path != FURNITURE and not m.name.startswith("_")]
    text = library().docstring
    assert text is not None
    return [library(), *sorted(public, key=lambda room: text.value.find(f"`{room.name}`"))]


def offered(room: griffe.Module) -> Iterator[str]:
    """Yield the public names of a room's functions and classes."""
    own = (n for n, m in room.members.items() if not m.is_alias and not n.startswith("_"))
    for name in room.exports or own:
        if (member := find(f"{room.path}.{name}")) and member.kind in ENTRY:
            yield f"{room.path}.{name}"


def find(name: str) -> griffe.Object | None:
    """Return what a whole name leads to in the library, if anything."""
    try:
        item = library() if name == "lnlib" else library()[name.removeprefix("lnlib.")]
        return item.final_target if isinstance(item, griffe.Alias) else item
    except (KeyError, griffe.AliasResolutionError):
        return None


def used() -> Iterator[str]:
    """Yield the functions and classes that the pages use, under the names that they use."""
    for path in sorted((BOOK / FIRST).glob("*.ipynb")):
        names = Names()
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                for use in names.uses("".join(cell["source"])):
                    item = find(use.name) if use.name.startswith("lnlib.") else None
                    if item and item.kind in ENTRY and isinstance(item.parent, griffe.Module):
                        yield use.name


@cache
def entries() -> tuple[Entry, ...]:
    """Return all entries: the rooms in their order, and in each what is written first first."""
    paths = [room.path for room in rooms()]
    public: dict[str, set[str]] = defaultdict(set)
    modules = [*rooms(), *(m for m in map(find, OPEN) if isinstance(m, griffe.Module))]
    for name in [*(name for module in modules for name in offered(module)), *used()]:
        private = any(part.startswith("_") for part in name.split("."))
        if not private and not name.startswith(FURNITURE) and (item := find(name)):
            public[item.path].add(name)
    found = []
    for path, names in public.items():
        name, *others = sorted(names, key=lambda name: (name.count("."), name))
        home = max((p for p in paths if name.startswith(f"{p}.")), key=len)
        item = find(path)
        if isinstance(item, (griffe.Function, griffe.Class)):
            found.append(Entry(name, tuple(others), home, item))
    return tuple(sorted(found, key=lambda entry: _place(entry, paths)))


def entries_of(room: griffe.Module) -> list[Entry]:
    """Return the entries of a room."""
    return [entry for entry in entries() if entry.room == room.path]


def _place(entry: Entry, rooms: list[str]) -> tuple[int, int, str, int]:
    depth = entry.name.removeprefix(entry.room).count(".")
    module = entry.item.parent.path if entry.item.parent else ""
    return rooms.index(entry.room), depth, module, entry.item.lineno or 0
