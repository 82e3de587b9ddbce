"""Make a site of the pages that Sphinx wrote: fast, private, accessible, each linked to its twins.

One small style sheet, scripts that do not hold up the text, images of known size, names that a
screen reader can say, a policy that lets no page load anything from another host, and a list for
search engines once the book has an address.
"""

from pathlib import Path
from xml.etree import ElementTree

from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader

from book import BOOK
from book.tools import assets, cards, crossref, map, numbers, prose, search, text, works
from book.tools.languages import LANGUAGES
from book.tools.pages import PAGE_STEPS, Place, lighten, restrict

FRONT = {"landing.html": "index.html", "404.html": "404.html"}  # templates, and what they become


def write_site(site: Path, title: str, order: list[str], address: str = "") -> None:
    """Finish a site in place.

    Args:
        site: a copy of what Sphinx wrote, a folder for each edition.
        title: the book's name.
        order: the file stems of its pages, in reading order.
        address: where the site is published, with a final slash; empty as long as it is not.
    """
    editions = {folder.name: read_pages(folder) for folder in sorted(site.iterdir())}
    for page in (page for pages in editions.values() for page in pages.values()):
        lighten(page)  # first, as all else goes through every element
    texts = {}
    for edition, pages in editions.items():
        folder = site / edition
        assets.install(folder, pages)
        works.install(pages, edition)
        search.install(folder, pages, edition)
        crossref.install(pages, edition)
        cards.install(folder, pages)
        map.install(pages, order, edition)
        numbers.install(pages, order)
        sources, home = folder / "_sources", f"{address}{edition}/" if address else "../"
        texts[edition] = text.texts(sources, edition, order)
        prose.write(sources, sources, edition, home, order)
        for name, page in pages.items():
            others = {code: editions[code][name] for code in editions if code != edition}
            place = Place(title, folder, others)
            for step in PAGE_STEPS:
                step(page, place)
    for edition, pages in editions.items():
        for name, page in pages.items():
            save(page, site / edition / name)
    environment = Environment(loader=FileSystemLoader(BOOK), autoescape=True)
    for template, name in FRONT.items():
        html = environment.get_template(template).render(
            title=title, address=address, languages=LANGUAGES
        )
        save(BeautifulSoup(html, "html.parser"), site / name)
    assets.drop_unreached(site)
    text.write(site, title, texts, address)
    if address:
        write_sitemap(site, address)
    (site / ".nojekyll").touch()


def read_pages(folder: Path) -> dict[str, BeautifulSoup]:
    """Return the pages of an edition, by file name."""
    return {
        path.name: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in sorted(folder.glob("*.html"))
    }


def save(page: BeautifulSoup, path: Path) -> None:
    """Write a page with the policy that restricts it."""
    restrict(page)
    path.write_text(str(page), encoding="utf-8")


def write_sitemap(site: Path, address: str) -> None:
    """List all pages for search engines."""
    root = ElementTree.Element("urlset", xmlns="http://www.sitemaps.org/schemas/sitemap/0.9")
    for path in sorted(site.glob("*/*.html")):
        if path.name != search.PAGE:
            url = ElementTree.SubElement(root, "url")
            ElementTree.SubElement(url, "loc").text = address + path.relative_to(site).as_posix()
    ElementTree.ElementTree(root).write(site / "sitemap.xml", "utf-8", xml_declaration=True)
