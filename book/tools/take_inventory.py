"""Store where other libraries document the names that the pages use.

`python -m book.tools.take_inventory` needs the network and the built book: it loads the whole
inventories, looks which of their names the pages would link, and stores those.
"""

from collections.abc import Iterable

from bs4 import BeautifulSoup
from sphinx.util import requests
from sphinx.util.typing import Inventory

from book.tools import inventories
from book.tools.assets import INVENTORY
from book.tools.configuration import BUILD
from book.tools.crossref import link
from book.tools.languages import LANGUAGES
from book.tools.site import read_pages


def wanted(pages: Iterable[BeautifulSoup], found: Iterable[Inventory]) -> set[str]:
    """Return the places in inventories to which pages would link."""
    names, modules = inventories.targets(found)
    places: set[str] = set()
    for page in pages:
        link(page, names, modules)
        places |= {str(tag["href"]) for tag in page.select("a[class=external]")}
    return places


def main() -> None:
    """Store all inventories."""
    published = {}
    for library, address in inventories.DOCUMENTATION.items():
        answer = requests.get(address + INVENTORY)
        answer.raise_for_status()
        published[library] = inventories.read(answer.content, library)
    pages = [p for e in LANGUAGES for p in read_pages(BUILD / "html" / e).values()]
    places = wanted(pages, published.values())
    for library, inventory in published.items():
        text = inventories.text(inventory, library, places)
        (inventories.FOLDER / f"{library}.inv").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
