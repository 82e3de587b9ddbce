"""Where other libraries document the names that the pages use.

Of each library the book stores these names alone, in the first version of Sphinx's inventories,
which is plain text. `take_inventory.py` writes the files.
"""

from collections import defaultdict
from collections.abc import Iterable
from io import BytesIO
from urllib.parse import urljoin, urlsplit

from sphinx.util.inventory import InventoryFile
from sphinx.util.typing import Inventory

from book import BOOK

FOLDER = BOOK / "inventories"
DOCUMENTATION = {  # by library: where Sphinx's files begin
    "numpy": "https://numpy.org/doc/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}
MODULE = "py:module"
KINDS = {MODULE: "mod"}  # that the first version calls otherwise


def read(data: bytes, library: str) -> Inventory:
    """Return an inventory of any version: of each kind the names, and where they lead."""
    return InventoryFile.load(BytesIO(data), DOCUMENTATION[library], urljoin)


def stored() -> list[Inventory]:
    """Return the inventories that the book stores."""
    return [read(path.read_bytes(), path.stem) for path in sorted(FOLDER.glob("*.inv"))]


def targets(found: Iterable[Inventory]) -> tuple[dict[str, str], dict[str, str]]:
    """Return where the names in Python lead, and where its modules."""
    places: dict[bool, dict[str, str]] = defaultdict(dict)
    for inventory in found:
        for kind, items in inventory.items():
            if kind.startswith("py:"):
                places[kind == MODULE] |= {name: item[2] for name, item in items.items()}
    return places[False], places[True]


def text(inventory: Inventory, library: str, wanted: set[str]) -> str:
    """Return the part of an inventory that leads to wanted places, in the first version.

    It cannot say an anchor: that is the name, or `module-` and the name.
    """
    project, version = next(i[:2] for items in inventory.values() for i in items.values())
    lines = [
        f"{name} {KINDS.get(kind, kind.removeprefix('py:'))} {location(place, library)}\n"
        for kind, items in inventory.items()
        if kind.startswith("py:")
        for name, (_, _, place, _) in items.items()
        if place in wanted and urlsplit(place).fragment in {name, f"module-{name}"}
    ]
    head = ["# Sphinx inventory version 1\n", f"# Project: {project}\n", f"# Version: {version}\n"]
    return "".join(head + sorted(lines))


def location(place: str, library: str) -> str:
    """Return where a page lies in a library's documentation."""
    return place.removeprefix(DOCUMENTATION[library]).partition("#")[0]
